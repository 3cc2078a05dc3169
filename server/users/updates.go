package users

import (
	"context"
	"errors"
	"io"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/audit"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/gather"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

// updateGroup is the most updates of a stream that are applied in one commit.
const updateGroup = 256

// invalidMessage is what validation has against a message that was received, or
// nil. The stream can go on after it.
func invalidMessage(err error) *protovalidate.ValidationError {
	if err == nil {
		return nil // Most are valid, and what follows allocates.
	}
	if invalid := new(protovalidate.ValidationError); errors.As(err, &invalid) {
		return invalid
	}
	return nil
}

// received is one message of an update stream: an update, or the answer to one that
// cannot be one.
type received struct {
	update  store.Update
	refused *userv1.UserUpdateResponse
}

func (u *Service) StreamUserUpdates(ctx context.Context, stream userv1connect.UserServiceStreamUserUpdatesServerStream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting := make(chan received, updateGroup)
	ended := make(chan error, 1)
	go func() { // Ends with the stream, at the latest when this method has returned.
		defer close(waiting)
		ended <- receiveUpdates(ctx, stream, waiting)
	}()
	for {
		if len(waiting) == 0 {
			if err := gather.Flush(ctx); err != nil {
				return err
			}
		}
		first, ok := <-waiting
		if !ok {
			return <-ended
		}
		if err := u.applyGroup(ctx, stream, collect(first, waiting, u.groupRows())); err != nil {
			return err
		}
	}
}

// receiveUpdates hands on the updates of a stream until it ends.
func receiveUpdates(ctx context.Context, stream userv1connect.UserServiceStreamUserUpdatesServerStream, waiting chan<- received) (err error) {
	defer guard.Recover(&err)
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var next received
		invalid := invalidMessage(err)
		switch {
		case invalid != nil:
			next.refused = refusedUpdate(failure.InvalidRow(ctx, invalid))
		case err != nil:
			return err
		default:
			next.update = wire.ToUpdate(req)
		}
		select {
		case waiting <- next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// groupRows is the most updates that the store would have in one commit now.
func (u *Service) groupRows() int {
	if rows := u.Store.Capacity().Rows; rows > 0 {
		return min(rows, updateGroup)
	}
	return updateGroup
}

// collect returns first and what else is waiting, up to so many. It does not wait.
func collect(first received, waiting <-chan received, most int) []received {
	group := []received{first}
	for len(group) < most {
		select {
		case next, ok := <-waiting:
			if !ok {
				return group
			}
			group = append(group, next)
		default:
			return group
		}
	}
	return group
}

// applyGroup applies a group in one commit and answers each of its messages.
func (u *Service) applyGroup(ctx context.Context, stream userv1connect.UserServiceStreamUserUpdatesServerStream, group []received) error {
	var updates []store.Update
	for _, message := range group {
		if message.refused == nil {
			updates = append(updates, message.update)
		}
	}
	var outcomes []store.Updated
	if len(updates) > 0 {
		var err error
		if outcomes, err = u.Store.UpdateMany(ctx, updates); err != nil {
			return err
		}
		if u.Audit != nil {
			u.Audit.Record(ctx, updateWrites(outcomes)...)
		}
	}
	for _, message := range group {
		answer := message.refused
		if answer == nil {
			answer, outcomes = u.updateAnswer(ctx, outcomes[0]), outcomes[1:]
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

// updateWrites are what updates have done.
func updateWrites(outcomes []store.Updated) []audit.Write {
	writes := make([]audit.Write, 0, len(outcomes))
	for _, outcome := range outcomes {
		if outcome.Err == nil {
			writes = append(writes, writeOf(outcome.Written))
		}
	}
	return writes
}

func (u *Service) updateAnswer(ctx context.Context, outcome store.Updated) *userv1.UserUpdateResponse {
	if outcome.Err != nil {
		u.Invalid.Count(outcome.Err)
		return refusedUpdate(failure.StatusOf(ctx, outcome.Err))
	}
	if !u.Invalid.Shows(&outcome.User) {
		return refusedUpdate(failure.Internal)
	}
	return &userv1.UserUpdateResponse{Success: true, UpdatedUser: wire.ToProto(outcome.User)}
}

func refusedUpdate(s failure.Status) *userv1.UserUpdateResponse {
	return &userv1.UserUpdateResponse{ErrorMessage: proto.String(s.Message()), Reason: s.Reason}
}
