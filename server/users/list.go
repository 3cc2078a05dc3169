package users

import (
	"context"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/packing"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
)

const (
	// PageTokenTrailer is the trailer of ListUsers that carries the next token.
	PageTokenTrailer = "Next-Page-Token"
	// listUsers is the name that page tokens of ListUsers are bound to.
	listUsers = "list"
	// firstChunk is the number of users that ListUsers reads first when it streams
	// them all.
	firstChunk = 12
	// chunkBytes is about how many bytes of users it reads at a time. A chunk is what
	// a caller that does not read makes the server hold, so those who have not taken
	// provenBytes yet get smallChunkBytes.
	smallChunkBytes, chunkBytes, provenBytes = 2 << 10, 64 << 10, 128 << 10
)

func (u *Service) listUsers(ctx context.Context, stream connect.ServerStream) error {
	var req userv1.ListUsersRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	if req.GetAll() {
		return u.listAll(ctx, req.GetPageToken(), stream)
	}
	found, next, err := u.page(ctx, store.Query{}, listUsers, req.GetPageToken(), req.GetPageSize())
	if err != nil {
		return err
	}
	if next != "" {
		call, _ := connect.CallInfoForServerContext(ctx)
		call.ResponseTrailer().Set(PageTokenTrailer, next)
	}
	var encoded chunk
	encoded.encode(found)
	if _, err := packing.TakeAnswer(ctx, func() int { return len(encoded.data) }); err != nil {
		return err
	}
	return encoded.send(stream)
}

// listAll reads chunk by chunk, so that neither memory nor a read transaction grows
// with the number of users.
func (u *Service) listAll(ctx context.Context, token string, stream connect.ServerStream) error {
	after, err := u.tokens.open(token, listUsers)
	if err != nil {
		return err
	}
	encoded := chunk{data: make([]byte, 0, smallChunkBytes)}
	for limit := firstChunk; ; limit = encoded.nextLimit() {
		found, err := u.Store.List(ctx, store.Query{After: after, Limit: limit})
		if err != nil {
			return err
		}
		after = found.Next
		encoded.encode(u.Invalid.Without(found.Users)) // And found is let go of: who does not read makes the server hold bytes only.
		if err := encoded.sendCounted(ctx, stream); err != nil || after == (store.Position{}) {
			return err
		}
	}
}

// chunk is some users, encoded one after the other.
type chunk struct {
	data []byte
	ends []int // Of each user, in data.
	sent int   // Bytes, of all chunks.
	poor bool  // There is no room for large ones.
}

func (c *chunk) encode(users []store.User) {
	c.data, c.ends = c.data[:0], c.ends[:0]
	for i := range users {
		c.data = wire.AppendUser(c.data, &users[i])
		c.ends = append(c.ends, len(c.data))
	}
}

func (c *chunk) send(stream connect.ServerStream) error {
	var user wire.ListedUser
	start := 0
	for _, end := range c.ends {
		user.Data = c.data[start:end]
		if err := stream.Send(&user); err != nil {
			return err
		}
		start = end
	}
	c.sent += len(c.data)
	return nil
}

// sendCounted is send for one of many chunks. The list does not begin where there is no room for
// the first, and goes on with small ones where there is none for others.
func (c *chunk) sendCounted(ctx context.Context, stream connect.ServerStream) error {
	if len(c.data) > packing.CountedPart {
		answer, err := packing.TakeAnswer(ctx, func() int { return len(c.data) })
		if err != nil && c.sent == 0 {
			return err
		}
		defer answer.Release()
		c.poor = err != nil
	}
	return c.send(stream)
}

// nextLimit is how many users like those in the chunk make the next one, for which
// it makes room.
func (c *chunk) nextLimit() int {
	if len(c.ends) == 0 { // None of them could be shown.
		return firstChunk
	}
	size := smallChunkBytes
	if c.sent >= provenBytes && !c.poor {
		size = chunkBytes
	}
	limit := max(size*len(c.ends)/max(len(c.data), 1), 1)
	if cap(c.data) < size {
		c.data = make([]byte, 0, size+size/8) // Not all are alike.
	}
	return limit
}
