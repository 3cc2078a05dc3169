package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/gen/user/v1/userv1errors"
)

// maxSilence is how long a stream may bring nothing. A server that is there says something
// every ten seconds; one that hangs, or that nothing comes through from, does not.
const maxSilence = 30 * time.Second

// follower learns of all changes, also of those that are made while it or the server is away.
// It gets all users anew where it has been away for longer than the server keeps changes
// (--changes-retention), and where the server's database was restored from a backup.
type follower struct {
	users  userv1connect.UserServiceClient
	cursor string // File with the cursor up to which changes have been handled.
	// handle may see a change twice, and after all users those that were made while they came.
	// It must have a change stored when it returns.
	handle func(*userv1.UserEvent) error
	// listed is called when all users there are have been handled since a time. Whoever was
	// not is to be dropped: they were deleted meanwhile.
	listed func(since time.Time) error
}

// run follows until the context ends or a change cannot be handled.
func (f *follower) run(ctx context.Context) error {
	for try := 1; ; try++ {
		err := f.follow(ctx, func() { try = 0 }) // Only what gets on begins to count anew.
		switch {
		case ctx.Err() != nil:
			return nil
		case isLost(err):
			slog.Info("all users come anew", "err", err)
			err = os.RemoveAll(f.cursor) // No error where there is none.
		case isAway(err):
			slog.Info("userd is away", "err", err)
			_ = pause(ctx, waitAway(err, max(try, 1)))
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

// waitAway is how long to wait before the next try: as long as the server says, and some more.
func waitAway(err error, try int) time.Duration {
	delay, _ := userv1errors.RetryDelay(err)
	return delay + backoff(try)
}

// isLost reports whether nothing can be followed from a cursor any more: the changes after it
// are not kept, or the database is another one than it is of.
func isLost(err error) bool {
	reason := userv1errors.Reason(err)
	return reason == userv1.Reason_REASON_CURSOR_EXPIRED || reason == userv1.Reason_REASON_INVALID_CURSOR
}

// isAway reports whether a stream ended because the server, or the way there, is away or has
// too much to do for now.
func isAway(err error) bool {
	var failed *connect.Error
	if !errors.As(err, &failed) {
		return errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) // It was silent, or ended without a reason.
	}
	switch userv1errors.Reason(err) {
	case userv1.Reason_REASON_UNAVAILABLE, userv1.Reason_REASON_OVERLOADED, userv1.Reason_REASON_SLOW_CONSUMER:
		return true
	}
	// An error that was made here has a cause where the connection was lost, or where a message
	// could not be read, which no other try would change.
	lost := !failed.IsRemote() && failed.Unwrap() != nil && failed.Code() != connect.CodeInvalidArgument
	return lost || failed.Code() == connect.CodeUnavailable // Which proxies say as well.
}

// follow handles changes as long as one stream lasts, from the stored cursor on.
func (f *follower) follow(ctx context.Context, handled func()) error {
	cursor, err := os.ReadFile(f.cursor)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(maxSilence, cancel)
	defer silence.Stop()
	stream, err := f.users.WatchUsers(ctx, &userv1.WatchUsersRequest{Cursor: string(cursor)})
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		message, err := receive(stream, silence)
		if err != nil {
			return err
		}
		if len(cursor) == 0 { // The changes from here on are certain: now all that was before.
			if err := f.list(ctx, silence); err != nil {
				return err
			}
		}
		for _, event := range message.GetEvents() {
			if err := f.handle(event); err != nil {
				return err
			}
		}
		cursor = []byte(message.GetCursor())
		if err := store(f.cursor, cursor); err != nil {
			return err
		}
		handled()
	}
}

// receive waits for the next message. What is done with it does not count as silence.
func receive[M any](stream interface{ Receive() (M, error) }, silence *time.Timer) (M, error) {
	silence.Reset(maxSilence)
	defer silence.Stop()
	return stream.Receive()
}

// list handles all users as if they had just changed.
func (f *follower) list(ctx context.Context, silence *time.Timer) error {
	began := time.Now()
	silence.Reset(maxSilence)
	stream, err := f.users.ListUsers(ctx, &userv1.ListUsersRequest{All: true})
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		user, err := receive(stream, silence)
		if errors.Is(err, io.EOF) {
			return f.listed(began)
		}
		if err != nil {
			return err
		}
		if err := f.handle(&userv1.UserEvent{Event: &userv1.UserEvent_Upserted{Upserted: user}}); err != nil {
			return err
		}
	}
}

// store replaces a file as a whole, so that it is the old or the new one whatever happens.
func store(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return fmt.Errorf("store the cursor: %w", err)
	}
	return os.Rename(path+".new", path)
}
