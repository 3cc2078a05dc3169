package users

import (
	"context"
	"errors"
	"runtime"
	"strconv"
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
func startWatch(ctx context.Context, service *Service, cursor string) *atomic.Int64 {
	events := new(atomic.Int64)
	go func() {
		_ = service.watchUsers(ctx, watcherFrom{func(message *userv1.WatchUsersResponse) {
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
				_ = service.watchUsers(ctx, watcherFrom{func(*userv1.WatchUsersResponse) { <-ctx.Done() }, "0"})
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

// A watcher at the head of the log does not wait for those who catch up.
func TestWatcherAtHeadHasNoTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := &busyStore{changed: make(chan struct{})}
		service := watchedService(t, busy)
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		service.feed.gate.turn <- struct{}{}
		following, behind := startWatch(ctx, service, ""), startWatch(ctx, service, "0")
		synctest.Wait()
		busy.write()
		synctest.Wait()
		if following.Load() != 1 || behind.Load() != 0 {
			t.Errorf("while another has the turn, the watcher at the head has %d events and the one behind %d", following.Load(), behind.Load())
		}
		<-service.feed.gate.turn
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
	if err := gate.awaitTurn(t.Context()); err != nil {
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
		for _, step := range []struct{ work, want time.Duration }{{gateWork - 1, 0}, {gateWork, gateWork}, {0, 0}} {
			gate.work += step.work
			start := time.Now()
			if err := gate.awaitTurn(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != step.want {
				t.Errorf("after %v of work the turn comes after %v, want %v", step.work, got, step.want)
			}
			if step.want == 0 {
				gate.work = 0
			}
		}
	})
}

// Who would have to wait too long for the changes is told at once. Who wants none of the
// past is not concerned.
func TestTooManyCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := watchedService(t, longLog{changes: manyChanges})
		defer service.feed.close()
		for range gateRoom {
			service.feed.gate.enter()
		}
		ctx, cancel := context.WithCancel(t.Context())
		follower := watchStream(func(*userv1.WatchUsersResponse) { cancel() })
		if err := service.watchUsers(ctx, follower); !errors.Is(err, context.Canceled) {
			t.Errorf("a watcher from now on ends with %v", err)
		}
		if err := service.watchUsers(ctx, watcherFrom{follower, "0"}); !errors.Is(err, store.ErrOverloaded) {
			t.Errorf("a watcher from the past ends with %v, want %v", err, store.ErrOverloaded)
		}
	})
}

func TestGateTakes(t *testing.T) {
	for _, test := range []struct {
		name     string
		inside   int
		pace     time.Duration
		deadline time.Duration // 0 for none.
		want     error
	}{
		{"nobody is there", 0, time.Second, time.Millisecond, nil},
		{"a deadline that leaves time for pages", 10, time.Millisecond, time.Second, nil},
		{"a deadline that does not", 100, time.Millisecond, time.Second, store.ErrOverloaded},
		{"a deadline that has passed, as its caller is told", 100, time.Millisecond, -time.Second, nil},
		{"no deadline", 100, time.Millisecond, 0, nil},
		{"no page before a heartbeat is due", 100, watchInterval / 99, 0, store.ErrOverloaded},
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
				gate := &gate{inside: test.inside, pace: test.pace}
				if err := gate.takes(ctx); err != test.want {
					t.Errorf("error is %v, want %v", err, test.want)
				}
			})
		})
	}
}

// One page that was long in coming, and that many wait for, is no reason to refuse others.
func TestGateTakesAfterSlowPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := new(gate)
		var entered time.Time
		for range 200 {
			entered = gate.enter()
		}
		time.Sleep(time.Second)
		gate.leave(entered, true)
		if err := gate.takes(t.Context()); err != nil {
			t.Errorf("after a page of a second: %v", err)
		}
	})
}
