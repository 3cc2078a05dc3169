package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// The fields of WatchUsersResponse and UserEvent.
const (
	fieldEvents protowire.Number = 1
	fieldCursor protowire.Number = 2

	fieldUpserted protowire.Number = 1
	fieldDeleted  protowire.Number = 2
)

func AppendUpserted(b []byte, user store.User) []byte {
	return appendEvent(b, fieldUpserted, encodeUser(user))
}

func AppendDeleted(b []byte, change store.Change) []byte {
	deleted := appendText(nil, 1, change.UserID)
	deleted = protowire.AppendVarint(protowire.AppendTag(deleted, 2, protowire.VarintType), uint64(change.Version))
	return appendEvent(b, fieldDeleted, deleted)
}

func appendEvent(b []byte, field protowire.Number, data []byte) []byte {
	b = protowire.AppendTag(b, fieldEvents, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(field)+protowire.SizeBytes(len(data))))
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), data)
}

func AppendCursor(b []byte, cursor store.Cursor) []byte {
	return appendText(b, fieldCursor, string(cursor))
}

// EncodedEvents is an encoded WatchUsersResponse.
type EncodedEvents struct {
	Data []byte
}

func (m *EncodedEvents) size() int { return len(m.Data) }

func (m *EncodedEvents) protoSize() int { return len(m.Data) }

func (m *EncodedEvents) appendProto(b []byte) []byte { return append(b, m.Data...) }

// appendJSON leaves it to protojson.
func (m *EncodedEvents) appendJSON(b []byte) ([]byte, bool) { return b, false }

func (m *EncodedEvents) message() proto.Message { return new(userv1.WatchUsersResponse) }
