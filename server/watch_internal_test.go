package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// quietStore has no changes. Its Wait returns early after wake.
type quietStore struct {
	store.Store
	wake time.Duration
}

func (quietStore) Head(context.Context) (store.Cursor, error) { return "here", nil }

func (quietStore) Changes(_ context.Context, after store.Cursor, _ int) ([]store.Change, store.Cursor, error) {
	return nil, after, nil
}

func (q quietStore) Wait(ctx context.Context, _ store.Cursor) error {
	select {
	case <-time.After(q.wake):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestWatchHeartbeat(t *testing.T) {
	for name, wake := range map[string]time.Duration{
		"nothing happens":           time.Hour,
		"changes without an effect": 7 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				quiet := quietStore{wake: wake}
				service := &users{store: quiet, feed: newFeed(quiet, nil), running: t.Context()}
				defer service.feed.close()
				ctx, cancel := context.WithCancel(t.Context())
				start := time.Now()
				i := time.Duration(0)
				err := service.watchUsers(ctx, watchStream(func(message *userv1.WatchUsersResponse) {
					if len(message.GetEvents()) > 0 || message.GetCursor() != "here" {
						t.Errorf("message %d is %v", i, message)
					}
					if after := time.Since(start); after != i*watchInterval {
						t.Errorf("message %d comes after %v, want %v", i, after, i*watchInterval)
					}
					if i++; i == 4 {
						cancel()
					}
				}))
				if !errors.Is(err, context.Canceled) {
					t.Errorf("watch ends with %v", err)
				}
			})
		})
	}
}

// watchStream is a watcher that asks for what happens from now on.
type watchStream func(*userv1.WatchUsersResponse)

func (watchStream) Receive(any) error { return nil }

func (watchStream) SendHeaders() error { return nil }

func (s watchStream) Send(msg any) error {
	message := new(userv1.WatchUsersResponse)
	err := proto.Unmarshal(msg.(encodedResponse).appendProto(nil), message)
	s(message)
	return err
}

// deadlines records the write deadlines of a connection.
type deadlines struct {
	http.ResponseWriter
	mu  sync.Mutex
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(deadline time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set = append(d.set, deadline)
	return nil
}

func (d *deadlines) last() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.set[len(d.set)-1]
}

// stuckWriter takes a time for each write, and fails at the deadline.
type stuckWriter struct {
	*deadlines
	takes time.Duration
}

func (s *stuckWriter) Write(p []byte) (int, error) {
	deadline := s.last()
	if left := time.Until(deadline); left < s.takes {
		time.Sleep(left)
		return 0, fmt.Errorf("write: %w", os.ErrDeadlineExceeded)
	}
	time.Sleep(s.takes)
	return len(p), nil
}

func (*stuckWriter) FlushError() error { return nil }

// sendTimeout is how long a message may wait in these tests.
const sendTimeout = 30 * time.Second

func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &stuckWriter{deadlines: &deadlines{ResponseWriter: httptest.NewRecorder()}, takes: sendTimeout/renewals - 1}
		start := time.Now()
		handleStream(stuck, func(ctx context.Context, send func(string) error) {
			sendAndFlush := func() error { return errors.Join(send("message"), flush(ctx)) }
			for range 20 { // A reader that is slow, but reads.
				if err := sendAndFlush(); err != nil {
					t.Fatal(err)
				}
			}
			if renewals := len(stuck.set); renewals != 10 {
				t.Errorf("deadline is set %d times in %v", renewals, time.Since(start))
			}
			stuck.takes = time.Hour
			start = time.Now()
			if err := sendAndFlush(); !errors.Is(err, errSlowConsumer) {
				t.Errorf("error is %v, want %v", err, errSlowConsumer)
			}
			if waited := time.Since(start); waited > sendTimeout || waited <= sendTimeout-sendTimeout/renewals {
				t.Errorf("stream ends after %v", waited)
			}
		})
	})
}

// A stream that has nothing to say for a while, as one of updates, goes on.
func TestDeadlineIsLiftedWhileNothingIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick := &stuckWriter{deadlines: &deadlines{ResponseWriter: httptest.NewRecorder()}}
		expired := func() bool {
			last := quick.last()
			return !last.IsZero() && !last.After(time.Now())
		}
		handleStream(quick, func(ctx context.Context, send func(string) error) {
			for _, pause := range []time.Duration{time.Second, sendTimeout, time.Second, 10 * sendTimeout} {
				if err := errors.Join(send("message"), flush(ctx)); err != nil {
					t.Fatal(err)
				}
				if quick.last().IsZero() {
					t.Error("a message is sent without a deadline")
				}
				time.Sleep(pause)
				synctest.Wait()
				if expired() {
					t.Errorf("after %v without a message the deadline has passed", pause)
				}
			}
			quick.takes = sendTimeout - time.Second // Sent shortly before the deadline.
			if err := errors.Join(send("message"), flush(ctx)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(sendTimeout)
			synctest.Wait()
			if expired() {
				t.Error("after a slow message the deadline has passed")
			}
		})
	})
}

// busyStore has a change for each of its versions, and counts what it is asked.
type busyStore struct {
	store.Store
	mu                    sync.Mutex
	head                  int64
	changed               chan struct{}
	changes, reads, waits int
}

func (b *busyStore) write() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.head++
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *busyStore) Head(context.Context) (store.Cursor, error) { return "0", nil }

func (b *busyStore) Changes(_ context.Context, after store.Cursor, _ int) (changes []store.Change, _ store.Cursor, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes++
	last, err := strconv.ParseInt(string(after), 10, 64)
	for version := last + 1; version <= b.head; version++ {
		changes = append(changes, store.Change{UserID: canonicalID(testUUID), Version: version, Kind: store.Upserted})
	}
	return changes, store.Cursor(strconv.FormatInt(b.head, 10)), err
}

func (b *busyStore) GetMany(context.Context, []string) ([]store.User, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	return []store.User{{ID: canonicalID(testUUID), Version: b.head}}, nil
}

func (b *busyStore) Wait(ctx context.Context, after store.Cursor) error {
	b.mu.Lock()
	b.waits++
	changed, behind := b.changed, string(after) != strconv.FormatInt(b.head, 10)
	b.mu.Unlock()
	if behind {
		return nil
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// What a thousand watchers ask of the store is what one asks.
func TestWatchersShareReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const watchers, writes = 1_000, 20
		busy := &busyStore{changed: make(chan struct{})}
		service := &users{store: busy, feed: newFeed(busy, nil), running: t.Context()}
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		versions := make([]int64, watchers)
		for i := range watchers {
			watching.Go(func() {
				_ = service.watchUsers(ctx, watchStream(func(message *userv1.WatchUsersResponse) {
					for _, event := range message.GetEvents() {
						if version := event.GetUpserted().GetVersion(); version != versions[i]+1 {
							t.Errorf("version %d comes after %d", version, versions[i])
						}
						versions[i]++
					}
				}))
			})
		}
		for range writes {
			synctest.Wait()
			busy.write()
		}
		synctest.Wait()
		cancel()
		watching.Wait()
		for i, version := range versions {
			if version != writes {
				t.Errorf("watcher %d has seen %d versions, want %d", i, version, writes)
			}
		}
		// At first, when there is nothing to read yet, each may ask for itself.
		if busy.changes > watchers+writes || busy.reads > writes || busy.waits > writes+1 {
			t.Errorf("store is asked for changes %d times, for users %d times, and to wait %d times", busy.changes, busy.reads, busy.waits)
		}
	})
}
