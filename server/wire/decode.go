package wire

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/rules"
	"github.com/example/userd/store"
)

// decodeProto decodes the encoded messages that come most often, those of reads and
// imports, into a message that is empty. It returns false for what it does not know;
// the message is then to be decoded by package proto, which needs three times as long,
// and goes deep into the stack, which the goroutine of a call has to make room for.
func decodeProto(data []byte, message any) bool {
	switch m := message.(type) {
	case *userv1.GetUserRequest:
		return decodeGetUser(data, m)
	case *userv1.CreateUserRequest:
		return decodeCreateUser(data, m)
	}
	return false
}

// decodeCreateUser knows the fields as most encoders write them: numbers in one byte, and
// each time once. The texts share one allocation. Where the whole is valid UTF-8
// they are, since the bytes around each are ASCII.
func decodeCreateUser(data []byte, m *userv1.CreateUserRequest) bool {
	texts := string(data)
	valid := utf8.ValidString(texts)
	for at := 0; at < len(data); {
		field, kind := protowire.DecodeTag(uint64(data[at]))
		size, n := binary.Uvarint(data[at+1:])
		if data[at] >= 0x80 || field < 1 || n <= 0 {
			return false
		}
		at += 1 + n
		switch {
		case kind == protowire.VarintType && n == 1:
			if !setNumber(m, field, byte(size)) {
				return false
			}
			continue
		case kind != protowire.BytesType || size > uint64(len(data)-at):
			return false
		}
		text := texts[at : at+int(size)]
		at += int(size)
		if field == createdAtField || field == lastLoginField {
			if !setTime(m, field, data[at-int(size):at]) {
				return false
			}
		} else if !valid && !utf8.ValidString(text) || !setText(m, field, text) {
			return false
		}
	}
	return true
}

// Fields of CreateUserRequest that are times.
const createdAtField, lastLoginField = 8, 9

func setNumber(m *userv1.CreateUserRequest, field protowire.Number, value byte) bool {
	switch field {
	case 7:
		m.Disabled = value == 1
		return value <= 1
	case 10:
		m.OnConflict = userv1.OnConflict(value)
		return true
	}
	return false
}

func setText(m *userv1.CreateUserRequest, field protowire.Number, text string) bool {
	switch field {
	case 1:
		m.Email = text
	case 2:
		m.DisplayName = text
	case 3:
		if m.Roles == nil {
			m.Roles = make([]string, 0, 4)
		}
		if len(m.Roles) <= store.MaxRoles { // The first one too many is enough to refuse it.
			m.Roles = append(m.Roles, text)
		}
	case 4:
		m.UserId = text
	case 5:
		m.ExternalId = text
	case 6:
		return decodeAttribute(text, m)
	}
	return field <= 6
}

// setTime sets a time, which comes once. Package proto would merge two.
func setTime(m *userv1.CreateUserRequest, field protowire.Number, data []byte) bool {
	at := &m.CreatedAt
	if field == lastLoginField {
		at = &m.LastLogin
	}
	if *at != nil {
		return false
	}
	*at = new(timestamppb.Timestamp)
	return decodeTime(data, *at)
}

// decodeTime knows seconds and perhaps nanoseconds, in this order.
func decodeTime(data []byte, at *timestamppb.Timestamp) bool {
	for want := protowire.Number(1); len(data) > 0; want++ {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 || field < want || field > 2 || kind != protowire.VarintType {
			return false
		}
		value, size := protowire.ConsumeVarint(data[n:])
		if size < 0 {
			return false
		}
		if want = field; field == 1 {
			at.Seconds = int64(value)
		} else {
			at.Nanos = int32(value)
		}
		data = data[n+size:]
	}
	return true
}

// decodeAttribute decodes an entry of the attributes.
func decodeAttribute(entry string, m *userv1.CreateUserRequest) bool {
	name, value, ok := attributeOf([]byte(entry))
	if !ok || !utf8.Valid(name) || !utf8.Valid(value) {
		return false
	}
	if m.Attributes == nil {
		m.Attributes = make(map[string]string, 4)
	}
	if len(m.Attributes) <= store.MaxAttributes { // The first one too many is enough to refuse it.
		m.Attributes[string(name)] = string(value)
	}
	return true
}

// decodeGetUser knows requests as most are: a UUID, and perhaps a version.
func decodeGetUser(data []byte, m *userv1.GetUserRequest) bool {
	id, data, ok := cutField(data, 1)
	if !ok {
		return false
	}
	if len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 || number != 2 || kind != protowire.VarintType {
			return false
		}
		version, size := protowire.ConsumeVarint(data[n:])
		if size != len(data)-n {
			return false
		}
		m.MinVersion = int64(version)
	}
	m.UserId = string(id)
	return rules.IsUUID(m.GetUserId())
}
