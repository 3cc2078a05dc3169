package watch

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
	"github.com/example/userd/store/stats"
)

const (
	// watchBatch is the most changes that one page of the feed covers.
	watchBatch = 500
	// pageBytes is the size of a page from which one with fewer changes is read instead. It
	// is sent as one message, and clients of gRPC take 4 MiB unless they are told otherwise.
	pageBytes = 3 << 20
	// feedPages and feedBytes are how much of the feed is kept.
	feedPages = 256
	feedBytes = 8 << 20
	// feedTime is how long it is kept. Its users are as they were then: some may have been
	// deleted by other servers.
	feedTime = time.Second
)

// fromNow is the cursor of who has none. The page after it is empty, and ends at the head of the
// log.
const fromNow store.Cursor = ""

// feed is the change log for all watchers. Those at one cursor share one read of the
// store and one wait for it, and what was read is kept for a while for those that
// come to the same cursor later. Watchers that follow the log all come to the same
// cursors, and so do those that catch up from one place: what the first of them has read is
// kept for those who come there soon (see gatePages). One that starts elsewhere reads for
// itself until it has caught up.
type feed struct {
	store   store.Store
	invalid *failure.InvalidUsers
	lag     *stats.Histogram
	gate    *gate          // Of those that catch up.
	waiters sync.WaitGroup // The goroutines of waits.

	mu     sync.Mutex
	reads  map[readKey]*feedRead
	waits  map[store.Cursor]*feedWait
	recent map[store.Cursor]*list.Element
	order  list.List // Of keptPage, the one that was read last at the end.
	bytes  int       // Of those.
	closed bool
}

// lagBounds are those of the age of changes, in nanoseconds. A watcher of another server is
// told by polling within 100 ms, where nothing tells it sooner.
var lagBounds = []int64{1e6, 5e6, 10e6, 25e6, 50e6, 100e6, 250e6, 500e6, 1e9, 2e9, 5e9, 10e9}

func newFeed(s store.Store, invalid *failure.InvalidUsers) (*feed, error) {
	gate, err := newGate()
	if err != nil {
		return nil, err
	}
	return &feed{
		store:   s,
		invalid: invalid,
		gate:    gate,
		lag:     stats.NewHistogram(lagBounds),
		reads:   make(map[readKey]*feedRead),
		waits:   make(map[store.Cursor]*feedWait),
		recent:  make(map[store.Cursor]*list.Element),
	}, nil
}

// feedPage is what the changes after a cursor mean for the users, each at most once.
type feedPage struct {
	next    store.Cursor
	atHead  bool
	events  []feedEvent
	exact   bool   // All users are at the versions of their changes.
	message []byte // The WatchUsersResponse with all events.
}

// keptPage is a page that was read of late.
type keptPage struct {
	after store.Cursor
	read  time.Time
	*feedPage
}

func (p keptPage) isOld() bool { return time.Since(p.read) >= feedTime }

type feedEvent struct {
	change  store.Change
	version int64 // Of the user as it was read.
	from    int   // Where its field 1 is in the message of the page.
	to      int
}

// readKey says which reads are the same. One that is vital does not wait for another that
// is not.
type readKey struct {
	after store.Cursor
	vital bool
}

// feedRead is a read of the store that is under way.
type feedRead struct {
	done    chan struct{}
	page    *feedPage
	err     error
	deleted []string // The users who were deleted meanwhile.
	stale   bool     // The page has one of them.
}

// follow is read for a watcher at the head of the log, which shares the page with all who
// are there and does not wait behind others.
func (f *feed) follow(ctx context.Context, after store.Cursor) (*feedPage, error) {
	return f.read(store.Vital(ctx), after)
}

// catchUp returns a reader for a watcher that may be far from the head. It reads when it is
// the watcher's turn.
func (f *feed) catchUp(visit *visit) feedReader {
	return func(ctx context.Context, after store.Cursor) (page *feedPage, err error) {
		err = visit.turn(ctx, func() (err error) {
			page, err = f.read(store.CatchingUp(ctx), after)
			return err
		})
		if err == nil && page.atHead {
			visit.leave()
		}
		return page, err
	}
}

// read returns the page after a cursor. It is without events if there were no
// changes.
func (f *feed) read(ctx context.Context, after store.Cursor) (*feedPage, error) {
	key := readKey{after, store.IsVital(ctx)}
	for {
		f.mu.Lock()
		page, under := f.kept(after), f.reads[key]
		if page == nil && under == nil {
			under = &feedRead{done: make(chan struct{}), err: errors.New("read of changes panicked")}
			f.reads[key] = under
			f.mu.Unlock()
			f.load(ctx, key, under)
			return under.page, under.err
		}
		f.mu.Unlock()
		if page != nil {
			return page, nil
		}
		select {
		case <-under.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !under.stale && !isOfReader(under.err) {
			return under.page, under.err
		}
	}
}

// isOfReader reports whether an error is the end of the watcher that reads, or refuses the
// calls of its caller. It is nothing to others then.
func isOfReader(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrOverloaded)
}

// load reads a page for all that wait for it.
func (f *feed) load(ctx context.Context, key readKey, into *feedRead) {
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.reads, key)
		into.stale = into.err == nil && slices.ContainsFunc(into.deleted, into.page.tellsOf)
		if into.err == nil && !into.stale && f.isWanted(key.after, into.page) {
			f.keep(key.after, into.page)
		}
		close(into.done)
	}()
	into.page, into.err = f.loadPage(ctx, key.after)
	if key.vital && into.err == nil && len(into.page.events) > 0 {
		f.lag.Observe(max(0, int64(time.Since(into.page.events[0].change.At))))
	}
}

// isWanted reports whether a page is to be kept. One that leads nowhere is not the last word.
// One that has no events may lead on: a cursor of PostgreSQL tells which transactions have ended.
// f.mu is held.
func (f *feed) isWanted(after store.Cursor, page *feedPage) bool {
	return page.next != after && after != fromNow && f.kept(after) == nil
}

// kept is the page after a cursor if it is kept, or nil. f.mu is held.
func (f *feed) kept(after store.Cursor) *feedPage {
	element := f.recent[after]
	if element == nil || element.Value.(keptPage).isOld() {
		return nil
	}
	return element.Value.(keptPage).feedPage
}

// keep keeps a page, and lets go of those that are old, and of the oldest where there is no
// room. f.mu is held.
func (f *feed) keep(after store.Cursor, page *feedPage) {
	for front := f.order.Front(); front != nil; front = f.order.Front() {
		oldest := front.Value.(keptPage)
		if !oldest.isOld() && f.order.Len() < feedPages && f.bytes+len(page.message) <= feedBytes {
			break
		}
		f.drop(front)
	}
	f.recent[after] = f.order.PushBack(keptPage{after, time.Now(), page})
	f.bytes += len(page.message)
}

// drop lets go of a page. f.mu is held.
func (f *feed) drop(element *list.Element) {
	page := f.order.Remove(element).(keptPage)
	delete(f.recent, page.after)
	f.bytes -= len(page.message)
}

// forget is that this server has deleted a user: nobody is told any more of how it was.
func (f *feed) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, under := range f.reads {
		under.deleted = append(under.deleted, id)
	}
	for element := f.order.Front(); element != nil; {
		next := element.Next()
		if element.Value.(keptPage).tellsOf(id) {
			f.drop(element)
		}
		element = next
	}
}

// tellsOf reports whether a page has a user as it was read.
func (p *feedPage) tellsOf(id string) bool {
	return slices.ContainsFunc(p.events, func(e feedEvent) bool { return e.change.Kind == store.Upserted && e.change.UserID == id })
}

// feedWait is a wait for changes that watchers share.
type feedWait struct {
	done   chan struct{}
	err    error
	users  int
	cancel context.CancelFunc
}

// wait returns when there are changes after a cursor, or with true when a heartbeat is due
// first.
func (f *feed) wait(ctx context.Context, after store.Cursor, beat *heartbeat) (isDue bool, err error) {
	w := f.join(after)
	if w == nil {
		return false, failure.ErrDraining
	}
	defer f.leave(after, w)
	for {
		select {
		case <-w.done:
			return false, w.err
		case <-beat.rang:
			if beat.isDue() {
				return true, nil
			}
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// isFollowed reports whether watchers wait for changes after a cursor. There were none when they
// began to.
func (f *feed) isFollowed(after store.Cursor) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waits[after] != nil
}

// join returns the wait for changes after a cursor, or nil when the feed is closed: net/http
// may let a handler run on when its connection is gone.
func (f *feed) join(after store.Cursor) *feedWait {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	w := f.waits[after]
	if w == nil {
		ctx, cancel := context.WithCancel(store.Vital(context.Background()))
		w = &feedWait{done: make(chan struct{}), cancel: cancel}
		f.waits[after] = w
		f.waiters.Go(func() {
			w.err = f.awaitChanges(ctx, after)
			f.end(after, w)
			close(w.done)
		})
	}
	w.users++
	return w
}

// leave ends a wait when its last user leaves.
func (f *feed) leave(after store.Cursor, w *feedWait) {
	f.mu.Lock()
	w.users--
	last := w.users == 0
	f.mu.Unlock()
	if last {
		f.end(after, w)
	}
}

// end lets nobody join a wait any more, and cancels it if nobody has.
func (f *feed) end(after store.Cursor, w *feedWait) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waits[after] == w {
		delete(f.waits, after)
	}
	if w.users == 0 {
		w.cancel()
	}
}

// close returns when the goroutines of the feed have ended. They end with their
// watchers.
func (f *feed) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.waiters.Wait()
	f.gate.close()
}

// awaitChanges returns when there are changes after a cursor. The page with them is then kept:
// if the first of those who wait had to read it, all others would stop once more, for that.
func (f *feed) awaitChanges(ctx context.Context, after store.Cursor) (err error) {
	defer guard.Recover(&err)
	for {
		if err := f.store.Wait(ctx, after); err != nil {
			return err
		}
		page, err := f.read(ctx, after)
		if err != nil || page.next != after {
			return err
		}
	}
}

// loadPage reads a page from the store, with fewer changes where their users are large.
func (f *feed) loadPage(ctx context.Context, after store.Cursor) (*feedPage, error) {
	for limit := watchBatch; ; limit /= 2 {
		page, err := f.loadChanges(ctx, after, limit)
		if err != nil || len(page.message) <= pageBytes || limit == 1 {
			return page, err
		}
	}
}

// loadChanges reads a page with so many changes at most.
func (f *feed) loadChanges(ctx context.Context, after store.Cursor, limit int) (*feedPage, error) {
	if after == fromNow {
		head, err := f.store.Head(ctx)
		return &feedPage{next: head, atHead: true}, err
	}
	changes, next, err := f.store.Changes(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	page := &feedPage{next: next, atHead: len(changes) < limit, exact: true}
	if len(changes) == 0 {
		return page, nil
	}
	changes = lastOfEach(changes)
	current, err := f.store.GetMany(ctx, upsertedIDs(changes))
	if err != nil {
		return nil, err
	}
	current = f.invalid.Without(current)
	for _, change := range changes {
		event := feedEvent{change: change, version: change.Version, from: len(page.message)}
		switch {
		case change.Kind == store.Deleted:
			page.message = wire.AppendDeleted(page.message, change)
		case len(current) > 0 && current[0].ID == change.UserID:
			event.version = current[0].Version
			page.message = wire.AppendUpserted(page.message, current[0])
			current = current[1:]
		default:
			continue // The user is gone, and a later change says so; or it cannot be shown.
		}
		event.to = len(page.message)
		page.exact = page.exact && event.version == change.Version
		page.events = append(page.events, event)
	}
	page.message = wire.AppendCursor(page.message, next)
	return page, nil
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

// progress is a message that says only how far the watcher has come.
func (p *feedPage) progress() wire.EncodedResponse {
	return &wire.EncodedEvents{Data: wire.AppendCursor(nil, p.next)}
}
