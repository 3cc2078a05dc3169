package server

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
)

// encodedResponse is a response whose users are encoded already. They go to the
// wire as they are, or from there straight to JSON.
type encodedResponse interface {
	// size is about that of the encoded response, protobuf or JSON.
	size() int
	appendProto(b []byte) []byte
	// appendJSON returns false where a user has what this server does not know.
	appendJSON(b []byte) ([]byte, bool)
	// message is an empty response of the same form.
	message() proto.Message
}

// encodedUser is a GetUserResponse or a GetUserByEmailResponse.
type encodedUser struct {
	entry cache.Entry
}

// encodedUsers is a BatchGetUsersResponse.
type encodedUsers struct {
	found   []cache.Entry
	missing []string
}

// listedUser is one User of a stream.
type listedUser struct {
	data []byte
}

// jsonFactor is about how much larger JSON is than protobuf, for a user.
const jsonFactor = 2

func (r *encodedUser) size() int { return 16 + jsonFactor*len(r.entry.Data) }

func (r *encodedUser) appendProto(b []byte) []byte {
	if !r.entry.Found {
		return b
	}
	return appendMessage(b, r.entry.Data)
}

func (r *encodedUser) appendJSON(b []byte) ([]byte, bool) {
	if !r.entry.Found {
		return append(b, "{}"...), true
	}
	b, ok := appendUserJSON(append(b, `{"user":`...), r.entry.Data)
	return append(b, '}'), ok
}

func (r *encodedUser) message() proto.Message { return new(userv1.GetUserResponse) }

func (r *encodedUsers) size() int {
	size := 64
	for _, entry := range r.found {
		size += 8 + jsonFactor*len(entry.Data)
	}
	for _, id := range r.missing {
		size += 4 + len(id)
	}
	return size
}

func (r *encodedUsers) appendProto(b []byte) []byte {
	for _, entry := range r.found {
		b = appendMessage(b, entry.Data)
	}
	for _, id := range r.missing {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, id)
	}
	return b
}

func (r *encodedUsers) appendJSON(b []byte) (_ []byte, ok bool) {
	b = append(b, '{')
	if len(r.found) > 0 {
		b = append(b, `"users":[`...)
		for _, entry := range r.found {
			if b, ok = appendUserJSON(b, entry.Data); !ok {
				return b, false
			}
			b = append(b, ',')
		}
		b = append(closed(b, ']'), ',')
	}
	if len(r.missing) > 0 {
		b = append(b, `"missingUserIds":[`...)
		for _, id := range r.missing {
			if b, ok = appendTextJSON(b, []byte(id)); !ok {
				return b, false
			}
			b = append(b, ',')
		}
		b = closed(b, ']')
	}
	return closed(b, '}'), true
}

func (r *encodedUsers) message() proto.Message { return new(userv1.BatchGetUsersResponse) }

func (r *listedUser) size() int { return jsonFactor * len(r.data) }

func (r *listedUser) appendProto(b []byte) []byte { return append(b, r.data...) }

func (r *listedUser) appendJSON(b []byte) ([]byte, bool) { return appendUserJSON(b, r.data) }

func (r *listedUser) message() proto.Message { return new(userv1.User) }

// appendMessage appends field 1 of a response, where all responses have users.
func appendMessage(b, data []byte) []byte {
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	return protowire.AppendBytes(b, data)
}
