package watch

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/wire"
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
				service := watchedService(t, quiet)
				defer service.feed.close()
				ctx, cancel := context.WithCancel(t.Context())
				start := time.Now()
				i := time.Duration(0)
				err := service.Serve(ctx, watchStream(func(message *userv1.WatchUsersResponse) {
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

// A heartbeat comes when nothing was sent for watchInterval, whatever was sent before.
func TestWatchHeartbeatAfterChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := &busyStore{changed: make(chan struct{})}
		service := watchedService(t, busy)
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var messages []time.Duration
		go func() {
			_ = service.Serve(ctx, watchStream(func(*userv1.WatchUsersResponse) { messages = append(messages, time.Since(start)) }))
		}()
		for _, pause := range []time.Duration{3 * time.Second, 4 * time.Second, 22 * time.Second} {
			time.Sleep(pause)
			synctest.Wait()
			busy.write()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		want := []time.Duration{0, 3, 7, 17, 27, 29}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(messages, want) {
			t.Errorf("messages come after %v, want %v", messages, want)
		}
	})
}

// watchedService is a service for watchers. Its feed must be closed.
func watchedService(t *testing.T, of store.Store) *Watchers {
	t.Helper()
	feed, err := newFeed(of, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Watchers{Config: Config{Store: of, Running: func(context.Context) context.Context { return t.Context() }}, feed: feed}
}

// watchStream is a watcher that asks for what happens from now on.
type watchStream func(*userv1.WatchUsersResponse)

func (watchStream) Receive(any) error { return nil }

func (watchStream) SendHeaders() error { return nil }

func (s watchStream) Send(msg any) error {
	var sent bytes.Buffer
	message := new(userv1.WatchUsersResponse)
	err := wire.Codecs()[0].MarshalWrite(context.Background(), &sent, msg)
	err = errors.Join(err, proto.Unmarshal(sent.Bytes(), message))
	s(message)
	return err
}

const watchedID = "11111111-1111-4111-8111-111111111111"

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
		changes = append(changes, store.Change{UserID: watchedID, Version: version, Kind: store.Upserted})
	}
	return changes, store.Cursor(strconv.FormatInt(b.head, 10)), err
}

func (b *busyStore) GetMany(context.Context, []string) ([]store.User, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	return []store.User{{ID: watchedID, Version: b.head}}, nil
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

// hotLog is a long log of one user, who is at its last version: none of the changes but the
// last are for a watcher to be told. A page takes a second.
type hotLog struct{ longLog }

func (h hotLog) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	time.Sleep(time.Second)
	changes, next, err := h.longLog.Changes(ctx, after, limit)
	first, _ := strconv.Atoi(string(after))
	for i := range changes {
		changes[i] = store.Change{UserID: watchedID, Version: int64(first + i + 1), Kind: store.Upserted}
	}
	return changes, next, err
}

func (h hotLog) GetMany(context.Context, []string) ([]store.User, error) {
	return []store.User{{ID: watchedID, Version: int64(h.changes)}}, nil
}

// A watcher that catches up hears how far it has come, also where it is told of no change.
func TestWatchHeartbeatWhileCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pages = 60
		service := watchedService(t, hotLog{longLog{changes: pages*watchBatch + 1}})
		defer service.feed.close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*pages*time.Second)
		defer cancel()
		last, cursor, told := time.Now(), 0, 0
		_ = service.Serve(ctx, watcherFrom{func(message *userv1.WatchUsersResponse) {
			if silent := time.Since(last); silent > watchInterval {
				t.Errorf("nothing is heard for %v", silent)
			}
			last = time.Now()
			next, err := strconv.Atoi(message.GetCursor())
			if err != nil || told == 0 && next <= cursor {
				t.Errorf("after cursor %d comes %q", cursor, message.GetCursor())
			}
			cursor = next
			if told += len(message.GetEvents()); told > 0 {
				cancel()
			}
		}, "0"})
		if told != 1 || cursor != pages*watchBatch+1 {
			t.Errorf("%d events and cursor %d", told, cursor)
		}
	})
}

// largeUsers is a log of users who have as much as they can.
type largeUsers struct{ longLog }

func (l largeUsers) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	changes, next, err := l.longLog.Changes(ctx, after, limit)
	for i := range changes {
		changes[i].UserID, changes[i].Kind = numberedID(changes[i].UserID), store.Upserted
	}
	return changes, next, err
}

func numberedID(n string) string {
	const first = "00000000-0000-4000-8000-000000000000"
	return first[:len(first)-len(n)] + n
}

func (largeUsers) GetMany(_ context.Context, ids []string) ([]store.User, error) {
	users := make([]store.User, len(ids))
	for i, id := range ids {
		users[i] = store.User{ID: id, Version: 1, Attributes: []store.Attribute{{Name: "a", Value: strings.Repeat("x", store.MaxAttributeBytes-1)}}}
		for role := range store.MaxRoles {
			users[i].Roles = append(users[i].Roles, strings.Repeat("r", 60)+strconv.Itoa(100+role))
		}
	}
	return users, nil
}

// Clients of gRPC take messages of 4 MiB, if they are told nothing else.
func TestMessagesOfLargeUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const changes, most = 3*watchBatch - 1, 4 << 20
		service := watchedService(t, largeUsers{longLog{changes: changes}})
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		go func() {
			_ = service.Serve(ctx, watcherFrom{func(message *userv1.WatchUsersResponse) {
				if size := proto.Size(message); size > most {
					t.Errorf("a message has %d bytes", size)
				}
				for _, event := range message.GetEvents() {
					if id := event.GetUpserted().GetId(); id != numberedID(strconv.Itoa(told)) {
						t.Errorf("user %s comes after %d others", id, told)
					}
					told++
				}
			}, "0"})
		}()
		time.Sleep(time.Second)
		cancel()
		synctest.Wait()
		if told != changes {
			t.Errorf("the watcher is told of %d users, want %d", told, changes)
		}
	})
}

// What was read long ago is read anew: a user may have been deleted since.
func TestWatcherIsToldOfUsersAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &deletedLater{}
		service := watchedService(t, log)
		defer service.feed.close()
		if upserted, deleted := watchDeletion(t, service); upserted != 1 || deleted != 0 {
			t.Fatalf("the first watcher is told of %d users and %d deletions", upserted, deleted)
		}
		log.gone.Store(true)
		time.Sleep(2 * time.Second)
		if upserted, deleted := watchDeletion(t, service); upserted != 0 || deleted != 1 {
			t.Errorf("after the deletion a watcher is told of %d users and %d deletions", upserted, deleted)
		}
	})
}

// Whom this server has deleted it tells nobody of who asks after that, whatever it has read or
// is reading.
func TestWatcherIsToldOfNobodyWhoWasDeletedHere(t *testing.T) {
	for name, reading := range map[string]time.Duration{"was read": 0, "is being read": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &deletedLater{reading: reading}
				service := watchedService(t, log)
				defer service.feed.close()
				first := make(chan int, 1)
				go func() {
					upserted, _ := watchDeletion(t, service)
					first <- upserted
				}()
				synctest.Wait()
				log.gone.Store(true)
				service.Forget(watchedID)
				if upserted, deleted := watchDeletion(t, service); upserted != 0 || deleted != 1 {
					t.Errorf("after the deletion a watcher is told of %d users and %d deletions", upserted, deleted)
				}
				if upserted := <-first; upserted != 1 {
					t.Errorf("a watcher who came before is told of %d users", upserted)
				}
			})
		})
	}
}

// Nor does it where who asks after that would share what somebody else is reading.
func TestSharedReadTellsOfNobodyWhoWasDeletedHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &deletedLater{reading: time.Second}
		service := watchedService(t, log)
		defer service.feed.close()
		first, second := make(chan *feedPage, 1), make(chan *feedPage, 1)
		read := func(pages chan<- *feedPage) {
			page, err := service.feed.read(t.Context(), "0")
			if err != nil {
				t.Error(err)
			}
			pages <- page
		}
		go read(first)
		synctest.Wait()
		log.gone.Store(true)
		service.Forget(watchedID)
		go read(second)
		if page := <-first; page == nil || !page.tellsOf(watchedID) {
			t.Error("who has asked before is told nothing")
		}
		if page := <-second; page == nil || page.tellsOf(watchedID) {
			t.Error("who asks after the deletion is told of the user")
		}
	})
}

// watchDeletion is of how many users and deletions a watcher is told who asks for all changes.
func watchDeletion(t *testing.T, service *Watchers) (upserted, deleted int) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_ = service.Serve(ctx, watcherFrom{func(message *userv1.WatchUsersResponse) {
		for _, event := range message.GetEvents() {
			if event.GetUpserted() != nil {
				upserted++
			} else {
				deleted++
			}
		}
	}, "0"})
	return upserted, deleted
}

// deletedLater is a log with the creation of a user, and later its deletion.
type deletedLater struct {
	store.Store
	gone    atomic.Bool
	reading time.Duration // How long it takes to read the user.
}

func (d *deletedLater) Changes(_ context.Context, after store.Cursor, _ int) ([]store.Change, store.Cursor, error) {
	log := []store.Change{{UserID: watchedID, Version: 1, Kind: store.Upserted}}
	if d.gone.Load() {
		log = append(log, store.Change{UserID: watchedID, Version: 2, Kind: store.Deleted})
	}
	read, err := strconv.Atoi(string(after))
	return log[read:], store.Cursor(strconv.Itoa(len(log))), err
}

func (d *deletedLater) GetMany(context.Context, []string) ([]store.User, error) {
	if d.gone.Load() {
		return nil, nil
	}
	time.Sleep(d.reading)
	return []store.User{{ID: watchedID, Version: 1}}, nil
}

func (d *deletedLater) Wait(ctx context.Context, _ store.Cursor) error {
	<-ctx.Done()
	return ctx.Err()
}

// What is kept of pages is bounded, in number, in bytes and in time, and makes room for others.
func TestKeptPagesAreBounded(t *testing.T) {
	for name, test := range map[string]struct {
		bytes int
		pause time.Duration
		want  int
	}{
		"many":  {100, 0, feedPages},
		"large": {feedBytes / 4, 0, 4},
		"old":   {100, feedTime / 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := watchedService(t, new(quietStore))
				f := service.feed
				defer f.close()
				for i := range 3 * feedPages {
					after := store.Cursor(strconv.Itoa(i))
					f.mu.Lock()
					f.keep(after, &feedPage{message: make([]byte, test.bytes)})
					kept := f.kept(after)
					f.mu.Unlock()
					if want := min(i+1, test.want); kept == nil || f.order.Len() != want || len(f.recent) != want || f.bytes != want*test.bytes {
						t.Fatalf("after %d pages %d of %d bytes are kept, want %d", i+1, f.order.Len(), f.bytes, want)
					}
					time.Sleep(test.pause)
				}
			})
		})
	}
}

// seenUser is a change of a user: to a version, and the version at which the user was read, or 0
// for a deletion.
type seenUser struct{ change, read int64 }

// pageOf is the page with these changes of one user.
func pageOf(atHead bool, seen ...seenUser) *feedPage {
	page := &feedPage{next: "next", atHead: atHead, exact: true}
	for _, s := range seen {
		event := feedEvent{change: store.Change{UserID: watchedID, Version: s.change}, version: s.read, from: len(page.message)}
		if s.read == 0 {
			event.change.Kind, event.version = store.Deleted, s.change
			page.message = wire.AppendDeleted(page.message, event.change)
		} else {
			event.change.Kind = store.Upserted
			page.message = wire.AppendUpserted(page.message, store.User{ID: watchedID, Version: s.read})
		}
		event.to = len(page.message)
		page.exact = page.exact && event.version == s.change
		page.events = append(page.events, event)
	}
	page.message = wire.AppendCursor(page.message, page.next)
	return page
}

// A watcher is told of each version once, in order. A user who is read at a newer version than
// that of the change comes with its own change, but for the head of the log: one that changes all
// the time would never come.
func TestWatcherIsToldOfVersionsOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pages []*feedPage
		want  [][]int64 // Versions by page; those of deletions are negative.
		ahead int
	}{
		"each as it was":               {[]*feedPage{pageOf(false, seenUser{1, 1}), pageOf(true, seenUser{2, 2}, seenUser{3, 0})}, [][]int64{{1}, {2, -3}}, 0},
		"newer, and more to come":      {[]*feedPage{pageOf(false, seenUser{1, 3}), pageOf(false, seenUser{2, 3}), pageOf(true, seenUser{3, 3})}, [][]int64{nil, nil, {3}}, 0},
		"newer, at the head":           {[]*feedPage{pageOf(true, seenUser{1, 3})}, [][]int64{{3}}, 1},
		"and then its changes":         {[]*feedPage{pageOf(true, seenUser{1, 3}), pageOf(true, seenUser{2, 3}), pageOf(true, seenUser{3, 3}), pageOf(true, seenUser{4, 4})}, [][]int64{{3}, nil, nil, {4}}, 0},
		"and then a later one":         {[]*feedPage{pageOf(true, seenUser{1, 3}), pageOf(true, seenUser{5, 5})}, [][]int64{{3}, {5}}, 0},
		"and then one that is ahead":   {[]*feedPage{pageOf(true, seenUser{1, 3}), pageOf(true, seenUser{4, 6}), pageOf(true, seenUser{6, 6})}, [][]int64{{3}, {6}, nil}, 0},
		"and then its deletion":        {[]*feedPage{pageOf(true, seenUser{1, 3}), pageOf(true, seenUser{4, 0})}, [][]int64{{3}, {-4}}, 0},
		"newer, before its deletion":   {[]*feedPage{pageOf(false, seenUser{1, 2}), pageOf(true, seenUser{3, 0})}, [][]int64{nil, {-3}}, 0},
		"at the head, more than asked": {[]*feedPage{pageOf(true, seenUser{1, 3}), pageOf(false, seenUser{2, 4}), pageOf(false, seenUser{3, 4}), pageOf(true, seenUser{4, 4})}, [][]int64{{3}, nil, nil, {4}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := watcher{ahead: make(map[string]int64)}
			for i, page := range test.pages {
				var got []int64
				if encoded, ok := seen.message(page).(*wire.EncodedEvents); ok {
					message := new(userv1.WatchUsersResponse)
					if err := proto.Unmarshal(encoded.Data, message); err != nil || message.GetCursor() != "next" {
						t.Fatalf("page %d: cursor %q, error %v", i, message.GetCursor(), err)
					}
					for _, event := range message.GetEvents() {
						got = append(got, event.GetUpserted().GetVersion()-event.GetDeleted().GetVersion())
					}
				}
				if !slices.Equal(got, test.want[i]) || seen.sent != len(got) {
					t.Errorf("page %d: told of %v, want %v; %d are counted", i, got, test.want[i], seen.sent)
				}
			}
			if len(seen.ahead) != test.ahead {
				t.Errorf("%v is remembered", seen.ahead)
			}
		})
	}
}

// What a thousand watchers ask of the store is what one asks.
func TestWatchersShareReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const watchers, writes = 1_000, 20
		busy := &busyStore{changed: make(chan struct{})}
		service := watchedService(t, busy)
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		versions := make([]int64, watchers)
		for i := range watchers {
			watching.Go(func() {
				_ = service.Serve(ctx, watchStream(func(message *userv1.WatchUsersResponse) {
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

// headStore is a store without changes that takes a second to tell the head of its log, and
// refuses who asks twice at a time.
type headStore struct {
	countingStore
	reading, heads *atomic.Int64
}

func (h headStore) Head(context.Context) (store.Cursor, error) {
	if h.reading.Add(1) > 1 {
		return "", store.ErrOverloaded
	}
	defer h.reading.Add(-1)
	time.Sleep(time.Second)
	return store.Cursor("head " + strconv.FormatInt(h.heads.Add(1), 10)), nil
}

// However many begin at once, as when a server starts again, the store is asked once where its
// log ends. Those who have its cursor already ask for nothing.
func TestWatchersBeginTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const watchers = 10_000
		of := headStore{countingStore{quietStore{wake: time.Hour}, new(atomic.Int64)}, new(atomic.Int64), new(atomic.Int64)}
		service := watchedService(t, of)
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		begin := func(cursor string) (begun *atomic.Int64) {
			begun = new(atomic.Int64)
			for range watchers {
				watching.Go(func() {
					err := service.Serve(ctx, watcherFrom{func(message *userv1.WatchUsersResponse) {
						if message.GetCursor() == "head 1" {
							begun.Add(1)
						}
					}, cursor})
					if !errors.Is(err, context.Canceled) {
						t.Errorf("a watch ends with %v", err)
					}
				})
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			return begun
		}
		for _, cursor := range []string{"", "head 1"} {
			if begun := begin(cursor); begun.Load() != watchers {
				t.Errorf("%d of %d watchers from %q have begun", begun.Load(), watchers, cursor)
			}
		}
		if heads, asked := of.heads.Load(), of.asked.Load(); heads != 1 || asked > 0 {
			t.Errorf("the store is asked for its head %d times, and for changes %d times", heads, asked)
		}
		cancel()
		watching.Wait()
	})
}

// countingStore is a store without changes that counts how often it is asked for them.
type countingStore struct {
	quietStore
	asked *atomic.Int64
}

func (c countingStore) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	c.asked.Add(1)
	return c.quietStore.Changes(ctx, after, limit)
}

// watchUntilHeartbeat has so many watchers of a store until their first heartbeats would be due.
func watchUntilHeartbeat(t *testing.T, of store.Store, watchers int) {
	t.Helper()
	service := watchedService(t, of)
	defer service.feed.close()
	ctx, cancel := context.WithTimeout(t.Context(), watchInterval-time.Nanosecond)
	defer cancel()
	var watching sync.WaitGroup
	for range watchers {
		watching.Go(func() { _ = service.Serve(ctx, watchStream(func(*userv1.WatchUsersResponse) {})) })
	}
	watching.Wait()
}

// A wait that ends for nothing, as when another process writes something else, costs one
// read, however many watch.
func TestWaitThatEndsForNothingWakesNoWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const watchers, ends = 100, 9
		quiet := countingStore{quietStore{wake: watchInterval / (ends + 1)}, new(atomic.Int64)}
		watchUntilHeartbeat(t, quiet, watchers)
		if asked := quiet.asked.Load(); asked > watchers+ends {
			t.Errorf("%d watchers have the store asked for changes %d times in %d waits", watchers, asked, ends)
		}
	})
}

// driftingStore is a store without changes whose cursors move, as those of PostgreSQL do when a
// transaction ends that has changed no user.
type driftingStore struct {
	quietStore
	asked *atomic.Int64
	began time.Time
}

func (d driftingStore) Changes(context.Context, store.Cursor, int) ([]store.Change, store.Cursor, error) {
	d.asked.Add(1)
	return nil, store.Cursor(time.Since(d.began).Truncate(d.wake).String()), nil
}

// A cursor that moves past no change costs one read, however many watch.
func TestWatchersShareReadsWithoutChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const watchers, moves = 100, 9
		drifting := driftingStore{quietStore{wake: watchInterval / (moves + 1)}, new(atomic.Int64), time.Now()}
		watchUntilHeartbeat(t, drifting, watchers)
		if asked := drifting.asked.Load(); asked > watchers+moves {
			t.Errorf("%d watchers have the store asked for changes %d times in %d moves", watchers, asked, moves)
		}
	})
}

// strictStore refuses, after a while, calls that have a deadline.
type strictStore struct{ longLog }

func (s strictStore) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	time.Sleep(time.Second)
	if _, hasDeadline := ctx.Deadline(); hasDeadline {
		return nil, "", store.ErrOverloaded
	}
	return s.longLog.Changes(ctx, after, limit)
}

// A watcher whose read is refused is refused alone, and not those who share it.
func TestReadThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := watchedService(t, strictStore{longLog{changes: 1}})
		defer service.feed.close()
		read := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := service.feed.read(ctx, "0")
				done <- err
			}()
			synctest.Wait()
			return done
		}
		hurried, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		refused := read(hurried)
		others := []chan error{read(t.Context()), read(t.Context())}
		if err := <-refused; !errors.Is(err, store.ErrOverloaded) {
			t.Errorf("the one who is refused: %v", err)
		}
		for _, other := range others {
			if err := <-other; err != nil {
				t.Errorf("one who shared the read: %v", err)
			}
		}
	})
}

// prunedLog is a log that has lost its oldest changes.
type prunedLog struct {
	longLog
	pruned *atomic.Int64
}

func (p prunedLog) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	oldest := p.pruned.Load()
	if after == store.Earliest {
		after = store.Cursor(strconv.FormatInt(oldest, 10))
	}
	if seq, err := strconv.ParseInt(string(after), 10, 64); err != nil || seq < oldest {
		return nil, "", errors.Join(err, store.ErrCursorExpired)
	}
	return p.longLog.Changes(ctx, after, limit)
}

// Where the log begins changes when changes are pruned, however many have watched from there.
func TestEarliestIsWhatIsKeptNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := prunedLog{longLog{changes: manyChanges}, new(atomic.Int64)}
		service := watchedService(t, log)
		defer service.feed.close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, pruned := range []int64{0, manyChanges - 1} {
			log.pruned.Store(pruned)
			events := startWatch(ctx, service, string(store.Earliest))
			synctest.Wait()
			if want := manyChanges - pruned; events.Load() != want {
				t.Errorf("after %d changes were pruned a watcher has %d events, want %d", pruned, events.Load(), want)
			}
			time.Sleep(feedTime)
		}
		cancel()
		synctest.Wait()
	})
}

// With net/http a handler may run on when its connection, and the server, is gone.
func TestWatchAfterTheEnd(t *testing.T) {
	feed, err := newFeed(quietStore{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	feed.close()
	if _, err := feed.wait(t.Context(), "here", newHeartbeat()); !errors.Is(err, failure.ErrDraining) {
		t.Errorf("wait: %v", err)
	}
	if _, err := feed.catchUp(feed.gate.visit(t.Context()))(t.Context(), "here"); !errors.Is(err, failure.ErrDraining) {
		t.Errorf("catch up: %v", err)
	}
}
