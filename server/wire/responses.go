package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
)

// EncodedResponse is a response whose users are encoded already. They go to the
// wire as they are, or from there straight to JSON.
type EncodedResponse interface {
	// size is about that of the encoded response in JSON, and not less than over protobuf.
	size() int
	// protoSize is that over protobuf, or a little more.
	protoSize() int
	appendProto(b []byte) []byte
	// appendJSON returns false where a user has what this server does not know.
	appendJSON(b []byte) ([]byte, bool)
	// message is an empty response of the same form.
	message() proto.Message
}

// EncodedUser is a GetUserResponse, a GetUserByEmailResponse or a
// GetUserByExternalIdResponse.
type EncodedUser struct {
	Entry cache.Entry
}

// EncodedUsers is a BatchGetUsersResponse.
type EncodedUsers struct {
	Found   []cache.Entry
	Missing []string
}

// ListedUser is one User of a stream.
type ListedUser struct {
	Data []byte
}

// UpdatedUser is a UserUpdateResponse of an update that was applied.
type UpdatedUser struct {
	Data []byte
}

// largeResponse is the size from which a response is large, in bytes.
const largeResponse = 64 << 10

// IsLarge reports whether a message is a large response to a unary call: of several users.
func IsLarge(msg any) bool {
	switch response := msg.(type) {
	case *EncodedUsers:
		return response.size() > largeResponse
	case *userv1.SearchUsersResponse:
		return proto.Size(response) > largeResponse
	}
	return false
}

// prefixBytes is what a field of a message needs besides its content: a tag of one byte, and the
// length.
const prefixBytes = 6

// jsonFactor is about how much larger JSON is than protobuf, for a user.
const jsonFactor = 2

func (r *EncodedUser) size() int { return 16 + jsonFactor*len(r.Entry.Data) }

func (r *EncodedUser) protoSize() int { return prefixBytes + len(r.Entry.Data) }

func (r *EncodedUser) appendProto(b []byte) []byte {
	if !r.Entry.Found {
		return b
	}
	return appendMessage(b, r.Entry.Data)
}

func (r *EncodedUser) appendJSON(b []byte) ([]byte, bool) {
	if !r.Entry.Found {
		return append(b, "{}"...), true
	}
	b, ok := appendUserJSON(append(b, `{"user":`...), r.Entry.Data)
	return append(b, '}'), ok
}

func (r *EncodedUser) message() proto.Message { return new(userv1.GetUserResponse) }

func (r *EncodedUsers) size() int {
	size := 64
	for _, entry := range r.Found {
		size += 8 + jsonFactor*len(entry.Data)
	}
	for _, id := range r.Missing {
		size += 4 + len(id)
	}
	return size
}

func (r *EncodedUsers) protoSize() (size int) {
	for _, entry := range r.Found {
		size += prefixBytes + len(entry.Data)
	}
	for _, id := range r.Missing {
		size += prefixBytes + len(id)
	}
	return size
}

func (r *EncodedUsers) appendProto(b []byte) []byte {
	for _, entry := range r.Found {
		b = appendMessage(b, entry.Data)
	}
	for _, id := range r.Missing {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, id)
	}
	return b
}

func (r *EncodedUsers) appendJSON(b []byte) (_ []byte, ok bool) {
	b = append(b, '{')
	if len(r.Found) > 0 {
		b = append(b, `"users":[`...)
		for _, entry := range r.Found {
			if b, ok = appendUserJSON(b, entry.Data); !ok {
				return b, false
			}
			b = append(b, ',')
		}
		b = append(closed(b, ']'), ',')
	}
	if len(r.Missing) > 0 {
		b = append(b, `"missingUserIds":[`...)
		for _, id := range r.Missing {
			if b, ok = appendTextJSON(b, []byte(id)); !ok {
				return b, false
			}
			b = append(b, ',')
		}
		b = closed(b, ']')
	}
	return closed(b, '}'), true
}

func (r *EncodedUsers) message() proto.Message { return new(userv1.BatchGetUsersResponse) }

func (r *ListedUser) size() int { return jsonFactor * len(r.Data) }

func (r *ListedUser) protoSize() int { return len(r.Data) }

func (r *ListedUser) appendProto(b []byte) []byte { return append(b, r.Data...) }

func (r *ListedUser) appendJSON(b []byte) ([]byte, bool) { return appendUserJSON(b, r.Data) }

func (r *ListedUser) message() proto.Message { return new(userv1.User) }

func (r *UpdatedUser) size() int { return 32 + jsonFactor*len(r.Data) }

func (r *UpdatedUser) protoSize() int { return 2*prefixBytes + len(r.Data) }

func (r *UpdatedUser) appendProto(b []byte) []byte {
	const success, updatedUser = 1, 3
	b = protowire.AppendVarint(protowire.AppendTag(b, success, protowire.VarintType), 1)
	return protowire.AppendBytes(protowire.AppendTag(b, updatedUser, protowire.BytesType), r.Data)
}

func (r *UpdatedUser) appendJSON(b []byte) ([]byte, bool) {
	b, ok := appendUserJSON(append(b, `{"success":true,"updatedUser":`...), r.Data)
	return append(b, '}'), ok
}

func (r *UpdatedUser) message() proto.Message { return new(userv1.UserUpdateResponse) }

// appendMessage appends field 1 of a response, where all responses have users.
func appendMessage(b, data []byte) []byte {
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	return protowire.AppendBytes(b, data)
}
