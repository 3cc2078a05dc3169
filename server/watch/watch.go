package watch

import (
	"context"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/gather"
	"github.com/example/userd/server/packing"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
	"github.com/example/userd/store/stats"
)

// watchInterval is the longest time between two messages of WatchUsers.
const watchInterval = 10 * time.Second

// Config says what is watched. All must be set.
type Config struct {
	// Store has the changes.
	Store store.Store
	// Invalid tells of users that cannot be shown.
	Invalid *failure.InvalidUsers
	// Running returns what ends when a call with a context is to, with the cause.
	Running func(context.Context) context.Context
}

// Watchers serves calls of WatchUsers.
type Watchers struct {
	Config
	feed *feed

	open, events atomic.Int64 // Watchers that are there, and events sent to them.
}

// New returns Watchers without any. Whoever makes them must close them.
func New(config Config) (*Watchers, error) {
	feed, err := newFeed(config.Store, config.Invalid)
	if err != nil {
		return nil, err
	}
	return &Watchers{Config: config, feed: feed}, nil
}

// Stats returns how many watchers there are, and what they were sent.
func (w *Watchers) Stats() stats.Watchers {
	catchingUp, refused := w.feed.gate.stats()
	return stats.Watchers{
		Following: max(0, int(w.open.Load())-catchingUp), CatchingUp: catchingUp, Refused: refused,
		Events: w.events.Load(), Lag: w.feed.lag.Snapshot(),
	}
}

// Forget is called when a user has been deleted, before that is acknowledged: watchers that
// come later are told of the deletion alone.
func (w *Watchers) Forget(id string) { w.feed.forget(id) }

// Close returns when nothing of them runs any more. They end with their calls.
func (w *Watchers) Close() { w.feed.close() }

// Serve serves a call of WatchUsers.
func (w *Watchers) Serve(ctx context.Context, stream connect.ServerStream) error {
	var req userv1.WatchUsersRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	visit := w.feed.gate.visit(ctx)
	defer visit.leave()
	cursor := store.Cursor(req.GetCursor())
	read, err := w.begin(ctx, visit, cursor)
	if err != nil {
		return err
	}
	w.open.Add(1)
	defer w.open.Add(-1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	running := w.Running(ctx)
	stop := context.AfterFunc(running, func() { cancel(context.Cause(running)) })
	defer stop()
	return w.watch(ctx, cursor, read, w.feed.catchUp(visit), stream)
}

// feedReader reads the page after a cursor.
type feedReader func(ctx context.Context, after store.Cursor) (*feedPage, error)

// begin returns what reads the first page of a watcher, or an error where that would take too
// long. Many come at once when a server starts again: it costs nothing to follow those who are
// at the head already.
func (w *Watchers) begin(ctx context.Context, visit *visit, asked store.Cursor) (feedReader, error) {
	switch {
	case asked == fromNow:
		return w.feed.follow, nil
	case w.feed.isFollowed(asked):
		return func(context.Context, store.Cursor) (*feedPage, error) {
			return &feedPage{next: asked, atHead: true}, nil
		}, nil
	}
	return w.feed.catchUp(visit), w.feed.gate.takes(ctx)
}

// watch sends the changes after a cursor until ctx ends: the first page is read by read, and
// those that are not the last by catchUp. A watcher that does not read is ended by
// gather.Streams.
func (w *Watchers) watch(ctx context.Context, cursor store.Cursor, read, catchUp feedReader, stream connect.ServerStream) error {
	seen := watcher{ahead: make(map[string]int64)}
	beat := newHeartbeat()
	defer beat.stop()
	for isDue := true; ; { // The first message comes at once.
		page, err := read(ctx, cursor)
		if err != nil {
			return causeOf(ctx, err)
		}
		cursor = page.next
		isDue = isDue || !page.atHead && beat.isNear()
		if message := seen.message(page); message != nil || isDue {
			if message == nil {
				message = page.progress()
			}
			if err := send(ctx, stream, message); err != nil {
				return err
			}
			w.events.Add(int64(seen.sent))
			beat.sent()
			isDue = false
		}
		if !page.atHead {
			read = catchUp
			continue
		}
		read = w.feed.follow
		if err := gather.Flush(ctx); err != nil {
			return err
		}
		if isDue, err = w.feed.wait(ctx, cursor, beat); err != nil {
			return causeOf(ctx, err)
		}
	}
}

// send sends a message. What the watcher does not read of it the server holds twice: as it is,
// and as Connect sends it.
func send(ctx context.Context, stream connect.ServerStream, message wire.EncodedResponse) error {
	if size := wire.EncodedSize(message); size > packing.CountedPart {
		answer, err := packing.TakeAnswer(ctx, func() int { return 2 * size })
		if err != nil {
			return err
		}
		defer answer.Release()
	}
	return stream.Send(message)
}

// causeOf is why ctx ended, where it has, else err.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// watcher decides which changes one watcher is told of. The log says which versions
// there were; users are read as they are now, which may be newer.
type watcher struct {
	// ahead has the versions that were delivered before their changes were read.
	ahead map[string]int64
	sent  int // Events of the last message.
}

// message is what a page means for the watcher, or nil if it means nothing.
func (w *watcher) message(page *feedPage) wire.EncodedResponse {
	w.sent = 0
	if len(page.events) == 0 {
		return nil
	}
	if len(w.ahead) == 0 && page.exact {
		w.sent = len(page.events)
		return &wire.EncodedEvents{Data: page.message}
	}
	var data []byte
	for _, event := range page.events {
		if w.isDue(event, page.atHead) {
			w.sent++
			data = append(data, page.message[event.from:event.to]...)
		}
	}
	if len(data) == 0 {
		return nil
	}
	return &wire.EncodedEvents{Data: wire.AppendCursor(data, page.next)}
}

// isDue reports whether an event is to be delivered. A user that is newer than the
// change comes with its own change, later; only at the head of the log, where a user
// that changes all the time would never come, is it delivered ahead.
func (w *watcher) isDue(event feedEvent, atHead bool) bool {
	if event.change.Kind == store.Deleted {
		delete(w.ahead, event.change.UserID)
		return true
	}
	if ahead, ok := w.ahead[event.change.UserID]; ok {
		if ahead > event.change.Version {
			return false
		}
		delete(w.ahead, event.change.UserID)
		if ahead == event.change.Version {
			return false
		}
	}
	if event.version == event.change.Version {
		return true
	}
	if atHead {
		w.ahead[event.change.UserID] = event.version
	}
	return atHead
}
