package wire

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/rules"
	"github.com/example/userd/store"
)

// decodeProto decodes the encoded messages that come most often, those of reads, imports
// and updates, into a message that is empty. It returns false for what it does not know;
// the message is then to be decoded by package proto, which needs three times as long,
// and goes deep into the stack, which the goroutine of a call has to make room for. Of
// messages that are longer than valid ones are nothing is copied.
func decodeProto(data []byte, message any) bool {
	if len(data) >= longListBytes {
		return false
	}
	switch m := message.(type) {
	case *userv1.GetUserRequest:
		return decodeGetUser(data, m)
	case *userv1.CreateUserRequest:
		return decodeCreateUser(data, m)
	case *userv1.UserUpdate:
		return decodeUpdate(data, m)
	}
	return false
}

// simpleField is a field as most encoders write them, with its tag in one byte.
type simpleField struct {
	number protowire.Number
	text   bool
	value  uint64 // Or the length of the text.
	start  int    // Of the text, or of what follows.
}

// fieldAt is the field that begins at a place. It returns false for one that is not as most
// encoders write them.
func fieldAt(data []byte, at int) (f simpleField, ok bool) {
	number, kind := protowire.DecodeTag(uint64(data[at]))
	value, n := binary.Uvarint(data[at+1:])
	f = simpleField{number: number, text: kind == protowire.BytesType, value: value, start: at + 1 + n}
	if data[at] >= 0x80 || number < 1 || n <= 0 {
		return f, false
	}
	if f.text {
		return f, value <= uint64(len(data)-f.start)
	}
	return f, kind == protowire.VarintType
}

// decodeCreateUser knows the fields as most encoders write them: numbers in one byte, and
// each time once. The texts share one allocation. Where the whole is valid UTF-8
// they are, since the bytes around each are ASCII.
func decodeCreateUser(data []byte, m *userv1.CreateUserRequest) bool {
	texts := string(data)
	valid := utf8.ValidString(texts)
	for at := 0; at < len(data); {
		f, ok := fieldAt(data, at)
		if !ok {
			return false
		}
		if !f.text {
			if f.start != at+2 || !setNumber(m, f.number, byte(f.value)) {
				return false
			}
			at = f.start
			continue
		}
		at = f.start + int(f.value)
		text := texts[f.start:at]
		if f.number == createdAtField || f.number == lastLoginField {
			if !setTime(m, f.number, data[f.start:at]) {
				return false
			}
		} else if !valid && !utf8.ValidString(text) || !setText(m, f.number, text) {
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
		m.Roles = appendRole(m.Roles, text)
	case 4:
		m.UserId = text
	case 5:
		m.ExternalId = text
	case 6:
		return decodeAttribute(text, m)
	}
	return field <= 6
}

func appendRole(roles []string, role string) []string {
	if roles == nil {
		roles = make([]string, 0, 4)
	}
	if len(roles) > store.MaxRoles { // The first one too many is enough to refuse them.
		return roles
	}
	return append(roles, role)
}

// decodeUpdate knows the texts, the roles and the version, as decodeCreateUser does.
func decodeUpdate(data []byte, m *userv1.UserUpdate) bool {
	const expectedVersion = 5
	texts := string(data)
	valid := utf8.ValidString(texts)
	for at := 0; at < len(data); {
		f, ok := fieldAt(data, at)
		switch {
		case !ok || !f.text && f.number != expectedVersion:
			return false
		case !f.text:
			m.ExpectedVersion = proto.Int64(int64(f.value))
			at = f.start
			continue
		}
		at = f.start + int(f.value)
		text := texts[f.start:at]
		if !valid && !utf8.ValidString(text) || !setUpdate(m, f.number, text) {
			return false
		}
	}
	return true
}

func setUpdate(m *userv1.UserUpdate, field protowire.Number, text string) bool {
	switch field {
	case 1:
		m.UserId = text
	case 2:
		m.DisplayName = proto.String(text)
	case 3:
		m.AddRoles = appendRole(m.AddRoles, text)
	case 4:
		m.RemoveRoles = appendRole(m.RemoveRoles, text)
	case 6:
		m.Email = proto.String(text)
	case 8:
		m.ExternalId = proto.String(text)
	default:
		return false
	}
	return true
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
