package users

import (
	"context"
	"errors"
	"io"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/audit"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/gather"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

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

func (u *Service) streamUserUpdates(ctx context.Context, stream connect.ServerStream) error {
	queue := newUpdateQueue()
	defer queue.close()
	go func() { // Ends with the stream, at the latest when this method has returned.
		queue.end(receiveUpdates(ctx, stream, queue))
	}()
	for {
		group := queue.poll()
		if group == nil {
			if err := gather.Flush(ctx); err != nil {
				return err
			}
			var err error
			if group, err = queue.wait(); group == nil {
				return err
			}
		}
		if err := u.applyGroup(ctx, stream, group); err != nil {
			return err
		}
		group.release()
	}
}

// receiveUpdates queues the updates of a stream until it ends.
func receiveUpdates(ctx context.Context, stream connect.ServerStream, queue *updateQueue) (err error) {
	defer guard.Recover(&err)
	var req userv1.UserUpdate
	for running := true; running; {
		req = userv1.UserUpdate{} // What was in it has been handed on.
		err := stream.Receive(&req)
		invalid := invalidMessage(err)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case invalid != nil:
			running = queue.refuse(refusedUpdate(failure.InvalidRow(ctx, invalid)))
		case err != nil:
			return err
		default:
			running = queue.add(wire.ToUpdate(&req))
		}
	}
	return nil
}

// applyGroup applies a group, in one commit unless the store would have fewer rows in one
// now, and answers each of its messages.
func (u *Service) applyGroup(ctx context.Context, stream connect.ServerStream, group *updateGroup) error {
	var outcomes []store.Updated
	rest := group.updates
	for _, refusal := range group.refusals {
		if refusal != nil {
			if err := stream.Send(refusal); err != nil {
				return err
			}
			continue
		}
		if len(outcomes) == 0 {
			var err error
			if outcomes, err = u.updateSome(ctx, rest); err != nil {
				return err
			}
			rest = rest[len(outcomes):]
		}
		if err := u.answerUpdate(ctx, stream, &group.answer, &outcomes[0]); err != nil {
			return err
		}
		outcomes = outcomes[1:]
	}
	return nil
}

// updateSome applies the first of updates, as many as the store would have in one commit now.
func (u *Service) updateSome(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	if rows := u.Store.Capacity().Rows; rows > 0 {
		updates = updates[:min(rows, len(updates))]
	}
	outcomes, err := u.Store.UpdateMany(ctx, updates)
	if err == nil && u.Audit != nil {
		u.Audit.Record(ctx, updateWrites(outcomes)...)
	}
	return outcomes, err
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

// answerUpdate sends the answer to an update, for which it uses one message again and again.
func (u *Service) answerUpdate(ctx context.Context, stream connect.ServerStream, answer *wire.UpdatedUser, outcome *store.Updated) error {
	switch {
	case outcome.Err != nil:
		u.Invalid.Count(outcome.Err)
		return stream.Send(refusedUpdate(failure.StatusOf(ctx, outcome.Err)))
	case !u.Invalid.Shows(&outcome.User):
		return stream.Send(refusedUpdate(failure.Internal))
	}
	answer.Data = wire.AppendUser(answer.Data[:0], &outcome.User)
	return stream.Send(answer)
}

func refusedUpdate(s failure.Status) *userv1.UserUpdateResponse {
	return &userv1.UserUpdateResponse{ErrorMessage: proto.String(s.Message()), Reason: s.Reason}
}
