package wire

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/rules"
)

// The JSON of a cached read, without the messages between it and the bytes: a user
// from its encoding, and the request from its text. Package protojson needs twenty
// times as long. What these do not know is left to it.

var userFieldsJSON = [...]string{
	fieldID: `"id":`, fieldEmail: `"email":`, fieldDisplayName: `"displayName":`, fieldCreatedAt: `"createdAt":`,
	fieldLastLogin: `"lastLogin":`, fieldRoles: `"roles":[`, fieldVersion: `"version":`, fieldUpdatedAt: `"updatedAt":`,
	fieldDisabled: `"disabled":`, fieldExternalID: `"externalId":`, fieldAttributes: `"attributes":{`,
}

// ends are what a field of several elements ends with.
var ends = [...]byte{fieldRoles: ']', fieldAttributes: '}'}

// appendUserJSON appends the JSON of an encoded User. It returns false where that is
// not as this server encodes users: each field once, in order, and no others.
func appendUserJSON(b, data []byte) (_ []byte, ok bool) {
	b = append(b, '{')
	var attribute []byte // Name of the last one: they are sorted.
	for last := protowire.Number(0); len(data) > 0; {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 || field > fieldAttributes || field < last || field == last && ends[field] == 0 {
			return b, false
		}
		data = data[n:]
		if field != last {
			if ends[last] != 0 {
				b = append(closed(b, ends[last]), ',')
			}
			b = append(b, userFieldsJSON[field]...)
		}
		if b, n = appendFieldJSON(b, field, kind, data); n < 0 {
			return b, false
		}
		if field == fieldAttributes {
			entry, _ := protowire.ConsumeBytes(data)
			name, _, _ := attributeOf(entry)
			if last == field && bytes.Compare(name, attribute) <= 0 {
				return b, false
			}
			attribute = name
		}
		b = append(b, ',')
		data, last = data[n:], field
		if len(data) == 0 && ends[field] != 0 {
			b = closed(b, ends[field])
		}
	}
	return closed(b, '}'), true
}

// closed ends a list or an object, over the comma after its last element.
func closed(b []byte, end byte) []byte {
	if b[len(b)-1] == ',' {
		b[len(b)-1] = end
		return b
	}
	return append(b, end)
}

// appendFieldJSON appends the value that data begins with, and returns its length,
// or a negative number for what is not as this server encodes it.
func appendFieldJSON(b []byte, field protowire.Number, kind protowire.Type, data []byte) ([]byte, int) {
	if field == fieldDisabled {
		value, n := protowire.ConsumeVarint(data)
		if kind != protowire.VarintType || value != 1 {
			return b, -1
		}
		return append(b, "true"...), n
	}
	if field == fieldVersion {
		version, n := protowire.ConsumeVarint(data)
		if kind != protowire.VarintType || version == 0 {
			return b, -1
		}
		b = strconv.AppendInt(append(b, '"'), int64(version), 10)
		return append(b, '"'), n
	}
	value, n := protowire.ConsumeBytes(data)
	if kind != protowire.BytesType || n < 0 {
		return b, -1
	}
	ok := false
	switch field {
	case fieldCreatedAt, fieldLastLogin, fieldUpdatedAt:
		b, ok = appendTimeJSON(b, value)
	case fieldAttributes:
		b, ok = appendAttributeJSON(b, value)
	default:
		if len(value) > 0 || field == fieldRoles {
			b, ok = appendTextJSON(b, value)
		}
	}
	if !ok {
		return b, -1
	}
	return b, n
}

// appendAttributeJSON appends an encoded entry of attributes.
func appendAttributeJSON(b, data []byte) ([]byte, bool) {
	name, value, ok := attributeOf(data)
	if !ok {
		return b, false
	}
	if b, ok = appendTextJSON(b, name); !ok {
		return b, false
	}
	return appendTextJSON(append(b, ':'), value)
}

// attributeOf returns name and value of an encoded entry of attributes, if it is as most
// are: both, in this order.
func attributeOf(data []byte) (name, value []byte, ok bool) {
	if name, data, ok = cutField(data, 1); !ok {
		return nil, nil, false
	}
	value, data, ok = cutField(data, 2)
	return name, value, ok && len(data) == 0
}

// cutField returns the text of the field that data begins with, and what follows it.
func cutField(data []byte, number protowire.Number) (text, rest []byte, ok bool) {
	field, kind, n := protowire.ConsumeTag(data)
	if n < 0 || field != number || kind != protowire.BytesType {
		return nil, nil, false
	}
	text, size := protowire.ConsumeBytes(data[n:])
	if size < 0 {
		return nil, nil, false
	}
	return text, data[n+size:], true
}

// appendTextJSON appends a string. It returns false where text is not UTF-8.
func appendTextJSON(b, text []byte) ([]byte, bool) {
	b = append(b, '"')
	start := 0
	for i, c := range text {
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			continue
		}
		if c >= utf8.RuneSelf {
			if !utf8.Valid(text[i:]) {
				return b, false
			}
			return appendWideTextJSON(b, text[start:]), true
		}
		b = appendEscaped(append(b, text[start:i]...), c)
		start = i + 1
	}
	return append(append(b, text[start:]...), '"'), true
}

// appendWideTextJSON appends the rest of a string, which is UTF-8.
func appendWideTextJSON(b, text []byte) []byte {
	start := 0
	for i, c := range text {
		if c < ' ' || c == '"' || c == '\\' {
			b = appendEscaped(append(b, text[start:i]...), c)
			start = i + 1
		}
	}
	return append(append(b, text[start:]...), '"')
}

func appendEscaped(b []byte, c byte) []byte {
	if c == '"' || c == '\\' {
		return append(b, '\\', c)
	}
	if at := strings.IndexByte("\b\f\n\r\t", c); at >= 0 {
		return append(b, '\\', "bfnrt"[at])
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}

// What a Timestamp can be in JSON: the years 1 to 9999.
const (
	minSeconds = -62135596800
	maxSeconds = 253402300799
	maxNanos   = 999_999_999
)

// appendTimeJSON appends an encoded Timestamp with 0, 3, 6 or 9 digits of a second.
func appendTimeJSON(b, data []byte) ([]byte, bool) {
	seconds, nanos, ok := consumeTime(data)
	if !ok {
		return b, false
	}
	b = time.Unix(seconds, 0).UTC().AppendFormat(append(b, '"'), time.RFC3339)
	if nanos > 0 {
		b[len(b)-1] = '.' // For the Z.
		digits, unit := nanos, int64(100_000_000)
		for count := 0; digits > 0 || count%3 > 0; count++ {
			b = append(b, '0'+byte(digits/unit))
			digits, unit = digits%unit, unit/10
		}
		b = append(b, 'Z')
	}
	return append(b, '"'), true
}

// consumeTime decodes a Timestamp, if it is as this server encodes it.
func consumeTime(data []byte) (seconds, nanos int64, ok bool) {
	for last := protowire.Number(0); len(data) > 0; {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 || kind != protowire.VarintType || field <= last || field > 2 {
			return 0, 0, false
		}
		value, m := protowire.ConsumeVarint(data[n:])
		if m < 0 {
			return 0, 0, false
		}
		if field == 1 {
			seconds = int64(value)
		} else {
			nanos = int64(value)
		}
		data, last = data[n+m:], field
	}
	return seconds, nanos, seconds >= minSeconds && seconds <= maxSeconds && nanos >= 0 && nanos <= maxNanos
}

// decodeJSON decodes the request for one user by its id, which is most often all
// that it says. It returns false for all else.
func decodeJSON(text []byte, msg any) bool {
	request, ok := msg.(*userv1.GetUserRequest)
	if !ok {
		return false
	}
	text, ok = cutToken(text, "{")
	rest, named := cutToken(text, `"userId"`)
	if !named {
		rest, named = cutToken(text, `"user_id"`)
	}
	rest, colon := cutToken(rest, ":")
	rest, quoted := cutToken(rest, `"`)
	length := bytes.IndexByte(rest, '"')
	if !ok || !named || !colon || !quoted || length < 0 {
		return false
	}
	id := string(rest[:length])
	end, ok := cutToken(rest[length+1:], "}")
	if end, _ = cutToken(end, ""); !ok || len(end) > 0 || !rules.IsUUID(id) {
		return false
	}
	request.Reset()
	request.UserId = id
	return true
}

// cutToken returns text after a token and the white space before it.
func cutToken(text []byte, token string) ([]byte, bool) {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t' || text[0] == '\r' || text[0] == '\n') {
		text = text[1:]
	}
	if len(text) < len(token) || string(text[:len(token)]) != token {
		return text, false
	}
	return text[len(token):], true
}
