package server

import (
	"context"
	"time"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/store"
)

const (
	// watchBatch is the most changes that one message of WatchUsers covers.
	watchBatch = 500
	// watchInterval is the longest time between two messages.
	watchInterval = 10 * time.Second
)

func (u *users) WatchUsers(ctx context.Context, req *userv1.WatchUsersRequest, stream userv1connect.UserServiceWatchUsersServerStream) error {
	cursor := store.Cursor(req.GetCursor())
	if cursor == "" {
		head, err := u.store.Head(ctx)
		if err != nil {
			return err
		}
		cursor = head
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(u.running, func() { cancel(errDraining) })
	defer stop()
	changes := feed{store: u.store, ahead: make(map[string]int64)}
	due := time.Now() // The first message comes at once.
	for {
		events, next, err := changes.read(ctx, cursor)
		if err != nil {
			return causeOf(ctx, err)
		}
		cursor = next
		if len(events) > 0 || !time.Now().Before(due) {
			if err := stream.Send(&userv1.WatchUsersResponse{Events: events, Cursor: string(cursor)}); err != nil {
				return err
			}
			due = time.Now().Add(watchInterval)
			continue
		}
		if err := u.awaitChange(ctx, cursor, due); err != nil {
			return causeOf(ctx, err)
		}
	}
}

// awaitChange returns when there may be changes after cursor, or a message is due.
func (u *users) awaitChange(ctx context.Context, cursor store.Cursor, due time.Time) error {
	if err := flush(ctx); err != nil {
		return err
	}
	wait, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	err := u.store.Wait(wait, cursor)
	if wait.Err() != nil {
		return ctx.Err()
	}
	return err
}

// causeOf is why ctx ended, where it has, else err.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// feed turns the change log into events for one watcher. The log says which
// versions there were; users are read as they are now, which may be newer.
type feed struct {
	store store.Store
	// ahead has the versions that were delivered before their changes were read.
	ahead map[string]int64
}

// read returns what the changes after a cursor mean for the users, each at most
// once, and the cursor after them.
func (f *feed) read(ctx context.Context, after store.Cursor) ([]*userv1.UserEvent, store.Cursor, error) {
	changes, next, err := f.store.Changes(ctx, after, watchBatch)
	if err != nil || len(changes) == 0 {
		return nil, next, err
	}
	atHead := len(changes) < watchBatch
	changes = lastOfEach(changes)
	current, err := f.store.GetMany(ctx, upsertedIDs(changes))
	if err != nil {
		return nil, "", err
	}
	events := make([]*userv1.UserEvent, 0, len(changes))
	for _, change := range changes {
		if change.Kind == store.Deleted {
			delete(f.ahead, change.UserID)
			events = append(events, deletedEvent(change))
		} else if len(current) > 0 && current[0].ID == change.UserID {
			if f.due(change, current[0].Version, atHead) {
				events = append(events, upsertedEvent(current[0]))
			}
			current = current[1:]
		} // Else the user is gone, and a later change says so.
	}
	return events, next, nil
}

// due reports whether a user is to be delivered for a change. One that is newer
// than the change comes with its own change, later; only at the head of the log,
// where a user that changes all the time would never come, is it delivered ahead.
func (f *feed) due(change store.Change, version int64, atHead bool) bool {
	if ahead, ok := f.ahead[change.UserID]; ok {
		if ahead > change.Version {
			return false
		}
		delete(f.ahead, change.UserID)
		if ahead == change.Version {
			return false
		}
	}
	if version == change.Version {
		return true
	}
	if atHead {
		f.ahead[change.UserID] = version
	}
	return atHead
}

// lastOfEach returns the last change of each user, in order.
func lastOfEach(changes []store.Change) []store.Change {
	last := make(map[string]int64, len(changes))
	for _, change := range changes {
		last[change.UserID] = change.Version
	}
	kept := changes[:0]
	for _, change := range changes {
		if last[change.UserID] == change.Version {
			kept = append(kept, change)
		}
	}
	return kept
}

func upsertedIDs(changes []store.Change) []string {
	ids := make([]string, 0, len(changes))
	for _, change := range changes {
		if change.Kind == store.Upserted {
			ids = append(ids, change.UserID)
		}
	}
	return ids
}

func upsertedEvent(user store.User) *userv1.UserEvent {
	return &userv1.UserEvent{Event: &userv1.UserEvent_Upserted{Upserted: toProto(user)}}
}

func deletedEvent(change store.Change) *userv1.UserEvent {
	return &userv1.UserEvent{Event: &userv1.UserEvent_Deleted{
		Deleted: &userv1.DeletedUser{UserId: change.UserID, Version: change.Version},
	}}
}
