package watch

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// longLog is a store with a change of each of many users.
type longLog struct {
	store.Store
	changes int
}

func (l longLog) Head(context.Context) (store.Cursor, error) {
	return store.Cursor(strconv.Itoa(l.changes)), nil
}

func (l longLog) Changes(_ context.Context, after store.Cursor, limit int) (changes []store.Change, _ store.Cursor, err error) {
	next, err := strconv.Atoi(string(after))
	for ; next < l.changes && len(changes) < limit; next++ {
		changes = append(changes, store.Change{UserID: strconv.Itoa(next), Version: 1, Kind: store.Deleted})
	}
	return changes, store.Cursor(strconv.Itoa(next)), err
}

func (longLog) GetMany(context.Context, []string) ([]store.User, error) { return nil, nil }

func (longLog) Wait(ctx context.Context, _ store.Cursor) error {
	<-ctx.Done()
	return ctx.Err()
}

// watcherFrom is a watcher that asks for what happens after a cursor.
type watcherFrom struct {
	watchStream
	cursor string
}

func (w watcherFrom) Receive(msg any) error {
	msg.(*userv1.WatchUsersRequest).Cursor = w.cursor
	return nil
}

// startWatch starts a watcher, which ends with ctx, and counts the events that it gets.
func startWatch(ctx context.Context, service *Watchers, cursor string) *atomic.Int64 {
	events := new(atomic.Int64)
	go func() {
		_ = service.Serve(ctx, watcherFrom{func(message *userv1.WatchUsersResponse) {
			events.Add(int64(len(message.GetEvents())))
		}, cursor})
	}()
	return events
}

const manyChanges = 10*watchBatch + 1

func TestWatcherThatDoesNotReadHindersNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := watchedService(t, longLog{changes: manyChanges})
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		for range 10 {
			go func() {
				_ = service.Serve(ctx, watcherFrom{func(*userv1.WatchUsersResponse) { <-ctx.Done() }, "0"})
			}()
		}
		synctest.Wait()
		events := startWatch(ctx, service, "0")
		synctest.Wait()
		if got := events.Load(); got != manyChanges {
			t.Errorf("the watcher has %d events, want %d", got, manyChanges)
		}
		cancel()
		synctest.Wait()
	})
}

// goalLog is a log whose cursors tell, as those of PostgreSQL do, which read of its beginning they
// lead on from.
type goalLog struct {
	longLog
	begun, pages *atomic.Int64
}

func (g goalLog) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	goal, seq, found := strings.Cut(string(after), ".")
	if !found {
		goal, seq = strconv.FormatInt(g.begun.Add(1), 10), "0"
	}
	g.pages.Add(1)
	changes, next, err := g.longLog.Changes(ctx, store.Cursor(seq), limit)
	return changes, store.Cursor(goal + "." + string(next)), err
}

// Those who soon come from where the log begins need not read it again.
func TestWatchersFromTheEarliestChangeShareTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := goalLog{longLog{changes: manyChanges}, new(atomic.Int64), new(atomic.Int64)}
		service := watchedService(t, log)
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		const pages, watchers = manyChanges/watchBatch + 1, 20
		for range watchers {
			events := startWatch(ctx, service, string(store.Earliest))
			synctest.Wait()
			if got := events.Load(); got != manyChanges {
				t.Errorf("a watcher has %d events, want %d", got, manyChanges)
			}
		}
		if got := log.pages.Load(); got > 2*pages {
			t.Errorf("%d pages are read for %d watchers of a log of %d", got, watchers, pages)
		}
		cancel()
		synctest.Wait()
	})
}

// A watcher at the head of the log does not wait for those who catch up.
func TestWatcherAtHeadHasNoTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := &busyStore{changed: make(chan struct{})}
		service := watchedService(t, busy)
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		service.feed.gate.taken = true
		behind := startWatch(ctx, service, "0")
		synctest.Wait() // Nobody follows from there yet.
		following := startWatch(ctx, service, "")
		synctest.Wait()
		busy.write()
		synctest.Wait()
		if following.Load() != 1 || behind.Load() != 0 {
			t.Errorf("while another has the turn, the watcher at the head has %d events and the one behind %d", following.Load(), behind.Load())
		}
		service.feed.gate.pass()
		synctest.Wait()
		if behind.Load() != 1 {
			t.Errorf("when it is its turn, the watcher behind has %d events", behind.Load())
		}
		cancel()
		synctest.Wait()
	})
}

// stuckStore is a store that answers, once it is stuck, only calls that are vital.
type stuckStore struct {
	*busyStore
	stuck atomic.Bool
}

func (s *stuckStore) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	if s.stuck.Load() && !store.IsVital(ctx) {
		<-ctx.Done()
		return nil, "", ctx.Err()
	}
	return s.busyStore.Changes(ctx, after, limit)
}

// A watcher at the head of the log does not wait for a read of one that catches up, though
// both are at one cursor.
func TestWatcherAtHeadReadsForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := &stuckStore{busyStore: &busyStore{changed: make(chan struct{})}}
		service := watchedService(t, busy)
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		following := startWatch(ctx, service, "")
		synctest.Wait()
		busy.stuck.Store(true)
		startWatch(ctx, service, "0")
		synctest.Wait()
		busy.write()
		synctest.Wait()
		if following.Load() != 1 {
			t.Errorf("the watcher at the head has %d events", following.Load())
		}
		cancel()
		synctest.Wait()
	})
}

// A turn comes after all that others have to do.
func TestTurnAwaitsOthers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	gate, err := newGate()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.close()
	const others = 50
	var done atomic.Int64
	for range others {
		go done.Add(1)
	}
	if err := gate.visit(t.Context()).turn(t.Context(), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := done.Load(); got != others {
		t.Errorf("%d of %d others have run", got, others)
	}
}

func TestTurnsLeaveHalfOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, err := newGate()
		if err != nil {
			t.Fatal(err)
		}
		defer gate.close()
		visit := gate.visit(t.Context())
		for _, step := range []struct{ work, wait time.Duration }{{gateWork - 1, 0}, {1, 0}, {0, gateWork}, {0, 0}} {
			start := time.Now()
			err := visit.turn(t.Context(), func() error {
				if waited := time.Since(start); waited != step.wait {
					t.Errorf("a turn of %v begins after %v, want %v", step.work, waited, step.wait)
				}
				time.Sleep(step.work)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// queued lets watchers come, one after the other, while another has the turn, and returns in
// what order they then get their turns. Each asks for its next page before it passes the turn
// on: how long it takes to do so is up to the scheduler.
func queued(t *testing.T, gate *gate, watchers, turns int) (order []int) {
	t.Helper()
	gate.taken = true
	for n := range watchers {
		visit := gate.visit(t.Context())
		go func() {
			defer visit.leave()
			gate.queue(visit)
			for turn := range turns {
				if err := <-visit.told; err != nil {
					t.Error(err)
					return
				}
				order = append(order, n) // Who has the turn is alone.
				if turn+1 < turns {
					gate.queue(visit)
				}
				gate.pass()
			}
		}()
		synctest.Wait()
	}
	gate.pass()
	synctest.Wait()
	return order
}

// Who came first has all its pages before others begin, but no more than gatePages.
func TestWatchersAreServedInTheOrderInWhichTheyCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		order := queued(t, new(gate), 6, 2*gatePages)
		var last [6]int // The place of the last page of the first half.
		var had [6]int
		for at, n := range order {
			if had[n]++; had[n] == gatePages {
				last[n] = at
			}
		}
		for n, at := range last {
			if want := (n+1)*gatePages - 1; at != want {
				t.Errorf("watcher %d has its first %d pages after %d of all, want %d", n, gatePages, at, want)
			}
		}
		if len(order) != 6*2*gatePages {
			t.Errorf("%d turns", len(order))
		}
	})
}

// pastLog is a log whose pages take a time.
type pastLog struct {
	longLog
	page time.Duration
}

func (l pastLog) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	time.Sleep(l.page)
	return l.longLog.Changes(ctx, after, limit)
}

// watchFor watches from a cursor until so many events have come, and returns how it ended.
func watchFor(ctx context.Context, service *Watchers, cursor, events int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := service.Serve(ctx, watcherFrom{func(message *userv1.WatchUsersResponse) {
		if events -= len(message.GetEvents()); events <= 0 {
			cancel(errSeen)
		}
	}, strconv.Itoa(cursor)})
	if events <= 0 {
		return nil
	}
	return err
}

var errSeen = errors.New("all events have come")

// Three times as many as can be served, each of whom would be gone after 500 ms: nearly all
// that is done is done for those who get all they want. The rest is told at once.
func TestMoreWatchersThanCanBeServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			page, pages = 5 * time.Millisecond, 8
			most        = float64(time.Second) / float64(pages*(page+gateWork)) // A second.
			seconds     = 4
		)
		service := watchedService(t, pastLog{longLog{changes: 1 << 30}, page})
		defer service.feed.close()
		var done, refused, expired atomic.Int64
		for n := range int(3 * most * seconds) {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				switch err := watchFor(ctx, service, n*pages*watchBatch, pages*watchBatch); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, store.ErrOverloaded):
					refused.Add(1)
				default:
					expired.Add(1)
				}
			}()
			time.Sleep(time.Duration(float64(time.Second) / (3 * most)))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := float64(done.Load()) / (most * seconds); got < 0.8 {
			t.Errorf("%.2f of what could be served was", got)
		}
		if got := float64(expired.Load()) / float64(done.Load()); got > 0.1 {
			t.Errorf("%d expired and %d were done", expired.Load(), done.Load())
		}
		waiting, counted := service.feed.gate.stats()
		if waiting != 0 || counted != refused.Load() {
			t.Errorf("%d wait and %d were refused, want none and %d", waiting, counted, refused.Load())
		}
	})
}

// Who waits for too long, and would only begin, is refused instead.
func TestNoWatcherBeginsThatCannotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := &gate{taken: true, stay: 8, pace: 10 * time.Millisecond}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		visit, told := gate.visit(ctx), make(chan error, 1)
		go func() { told <- visit.await(ctx) }()
		synctest.Wait()
		time.Sleep(900 * time.Millisecond)
		gate.pass()
		if err := <-told; err != store.ErrOverloaded {
			t.Errorf("error is %v", err)
		}
		if gate.taken {
			t.Error("it has the turn")
		}
	})
}

// A watcher that goes while it waits, or is just given the turn, leaves it to others.
func TestWatchersThatGoLeaveTheirTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := &gate{taken: true}
		ctx, cancel := context.WithCancel(t.Context())
		gone, next := gate.visit(ctx), gate.visit(t.Context())
		errs := make(chan error, 2)
		go func() { errs <- gone.await(ctx) }()
		synctest.Wait()
		go func() { errs <- next.await(t.Context()) }()
		synctest.Wait()
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("who goes is told %v", err)
		}
		gate.pass()
		if err := <-errs; err != nil {
			t.Errorf("the next one is told %v", err)
		}
		late := gate.visit(ctx)
		gate.queue(late)
		gate.pass() // It is given the turn, and has gone.
		if err := late.withdraw(ctx); !errors.Is(err, context.Canceled) || gate.taken {
			t.Errorf("error is %v, taken: %v", err, gate.taken)
		}
	})
}

// Who wants none of the past is not concerned by how many do.
func TestTooManyCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := watchedService(t, longLog{changes: manyChanges})
		defer service.feed.close()
		service.feed.gate.waiting = make([]*visit, gateRoom)
		ctx, cancel := context.WithCancel(t.Context())
		follower := watchStream(func(*userv1.WatchUsersResponse) { cancel() })
		if err := service.Serve(ctx, follower); !errors.Is(err, context.Canceled) {
			t.Errorf("a watcher from now on ends with %v", err)
		}
		if err := service.Serve(ctx, watcherFrom{follower, "0"}); !errors.Is(err, store.ErrOverloaded) {
			t.Errorf("a watcher from the past ends with %v, want %v", err, store.ErrOverloaded)
		}
	})
}

func TestGateTakes(t *testing.T) {
	for _, test := range []struct {
		name     string
		waiting  int
		pace     time.Duration
		deadline time.Duration // 0 for none.
		want     error
	}{
		{"nobody is there", 0, time.Second, time.Millisecond, nil},
		{"a deadline that leaves half of the time", 50, time.Millisecond, time.Second, nil},
		{"a deadline that does not", 51, time.Millisecond, time.Second, store.ErrOverloaded},
		{"a deadline that has passed, as its caller is told", 100, time.Millisecond, -time.Second, nil},
		{"no deadline", 100, gatePatience / 1000, 0, nil},
		{"no deadline, and no page for too long", 100, gatePatience / 999, 0, store.ErrOverloaded},
		{"the last one", gateRoom - 1, time.Microsecond, 0, nil},
		{"one too many", gateRoom, time.Microsecond, 0, store.ErrOverloaded},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if test.deadline != 0 {
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
				}
				defer cancel()
				gate := &gate{waiting: make([]*visit, test.waiting), pace: test.pace, stay: 10}
				if err := gate.takes(ctx); err != test.want {
					t.Errorf("error is %v, want %v", err, test.want)
				}
				if _, refused := gate.stats(); (refused == 1) != (test.want != nil) {
					t.Errorf("%d are counted as refused", refused)
				}
			})
		})
	}
}

// One page that was long in coming, and that some wait for, is no reason to refuse others.
func TestGateTakesAfterSlowPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := &gate{taken: true, ended: time.Now(), stay: 1}
		for range 30 {
			gate.queue(gate.visit(t.Context()))
		}
		time.Sleep(time.Second)
		gate.pass()
		if err := gate.takes(t.Context()); err != nil {
			t.Errorf("after a page of a second: %v", err)
		}
	})
}
