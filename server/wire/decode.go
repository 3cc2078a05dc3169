package wire

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	userv1 "github.com/example/userd/gen/user/v1"
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
		return decodeTexts(data, func(field protowire.Number, text string) bool {
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
			}
			return field <= 4
		})
	}
	return false
}

// decodeGetUser knows requests as most are: a UUID, and perhaps a version.
func decodeGetUser(data []byte, m *userv1.GetUserRequest) bool {
	number, kind, n := protowire.ConsumeTag(data)
	if n < 0 || number != 1 || kind != protowire.BytesType {
		return false
	}
	id, size := protowire.ConsumeBytes(data[n:])
	if size < 0 {
		return false
	}
	if data = data[n+size:]; len(data) > 0 {
		number, kind, n = protowire.ConsumeTag(data)
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
	return isUUID(m.GetUserId())
}

// decodeTexts hands on the fields of a message, which must all be strings with a
// number below 16, in their order. It stops and returns false where that is not so, or
// set returns false. The texts share one allocation. Where the whole is valid UTF-8 they
// are, since the bytes around each are ASCII.
func decodeTexts(data []byte, set func(field protowire.Number, text string) bool) bool {
	texts := string(data)
	valid := utf8.ValidString(texts)
	for at := 0; at < len(data); {
		field, kind := protowire.DecodeTag(uint64(data[at]))
		size, n := binary.Uvarint(data[at+1:])
		at += 1 + n
		if data[at-1-n] >= 0x80 || field < 1 || kind != protowire.BytesType || n <= 0 || size > uint64(len(data)-at) {
			return false
		}
		text := texts[at : at+int(size)]
		if !valid && !utf8.ValidString(text) || !set(field, text) {
			return false
		}
		at += int(size)
	}
	return true
}
