package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store"
)

func TestMain(m *testing.M) {
	if settings := os.Getenv(peerVariable); settings != "" {
		if err := runPeer(settings); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// rueidis closes connections to nodes that have left a Cluster five seconds later, and asks for
	// its nodes again a second later, though its client is closed.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

// look looks a user up and ends the test unless it is at this version.
func look(t testing.TB, c *Cache, id string, version int64) Entry {
	t.Helper()
	e, err := c.Lookup(t.Context(), id, Read{})
	if err != nil {
		t.Fatal(err)
	}
	if !e.Found || e.Version != version {
		t.Fatalf("found %v at version %d, want version %d", e.Found, e.Version, version)
	}
	return e
}

// warm looks a user up until the near cache has it.
func warm(t testing.TB, c *Cache, id string, version int64) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		look(t, c, id, version)
		if _, ok := c.hit(userKey(id), 0); ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the near cache never has it")
		}
		_, _ = c.backend.read(t.Context(), []key{userKey(id)})
	}
}

// awaitNewer looks a user up until a version is shown that others have just written. That it is
// relayed is not enough: what Redis says of it may still be on its way to the near cache.
func awaitNewer(t testing.TB, c *Cache, id string, version int64) {
	t.Helper()
	written := time.Now()
	for {
		asked := time.Now()
		if e, _ := c.Lookup(t.Context(), id, Read{}); e.Version == version {
			return
		}
		if asked.Sub(written) > c.config.Staleness+time.Second {
			t.Fatal("still old after X")
		}
	}
}

func TestLookupReadsTheStoreOnce(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		c := b.open(t)
		u := b.user(t)
		warm(t, c, u.ID, 1)
		before := b.store.reads.Load()
		for range 10 {
			e := look(t, c, u.ID, 1)
			if got, err := decodeJSON(e.Data); err != nil || got.Email != u.Email {
				t.Errorf("got %v, %v, want the user", got, err)
			}
		}
		if n := b.store.reads.Load() - before; n != 0 {
			t.Errorf("%d reads of the store, want none", n)
		}
	})
}

func TestWritesShowAtOnce(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		c := b.open(t)
		id := uuid.NewString()
		if e, err := c.Lookup(t.Context(), id, Read{}); err != nil || e.Found {
			t.Fatalf("before its creation: %v, %v", e, err)
		}
		if _, err := c.Create(t.Context(), store.NewUser{ID: id, Email: "Ann@example.com"}); err != nil {
			t.Fatal(err)
		}
		look(t, c, id, 1)
		writes := []func(store.Update) error{
			func(update store.Update) error {
				_, err := c.Update(t.Context(), update)
				return err
			},
			func(update store.Update) error {
				updated, err := c.UpdateMany(t.Context(), []store.Update{update})
				return errors.Join(err, updated[0].Err)
			},
			func(update store.Update) error {
				_, err := c.Import(t.Context(), []store.NewUser{{
					ID: id, Email: "Ann@example.com", DisplayName: *update.DisplayName, OnConflict: store.UpdateOnConflict,
				}})
				return err
			},
			func(store.Update) error {
				_, err := c.RecordLogin(t.Context(), id, time.Now(), 0)
				return err
			},
		}
		for version := int64(2); version < 22; version++ {
			warm(t, c, id, version-1)
			if err := writes[int(version)%len(writes)](store.Update{ID: id, DisplayName: new(time.Now().String())}); err != nil {
				t.Fatal(err)
			}
			look(t, c, id, version)
		}
		if u, err := c.GetByEmail(t.Context(), "ann@EXAMPLE.com"); err != nil || u.ID != id {
			t.Errorf("by email: %v, %v", u, err)
		}
		if _, err := c.Delete(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after its deletion: %v, want ErrNotFound", err)
		}
		if _, err := c.GetByEmail(t.Context(), "ann@example.com"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after its deletion, by email: %v, want ErrNotFound", err)
		}
	})
}

// Names are what one user at a time has: an email, an external id. A user who gives one up
// is not found by it any more, and who takes it is found, at once on the server that wrote
// it, and within X on others.
func TestNamesMove(t *testing.T) {
	t.Parallel()
	for kind, name := range map[string]struct {
		give func(u *store.NewUser, name string)
		move func(u *store.Update, name string)
		find func(c *Cache, name string) (store.User, error)
	}{
		"email": {
			func(u *store.NewUser, name string) { u.Email = name + "@example.com" },
			func(u *store.Update, name string) { u.Email = new(name + "@example.com") },
			func(c *Cache, name string) (store.User, error) {
				return c.GetByEmail(context.Background(), name+"@EXAMPLE.com")
			},
		},
		"external id": {
			func(u *store.NewUser, name string) { u.ExternalID = name },
			func(u *store.Update, name string) { u.ExternalID = new(name) },
			func(c *Cache, name string) (store.User, error) {
				return c.GetByExternalID(context.Background(), name)
			},
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			onBackends(t, func(t *testing.T, b *bundle) {
				writer, other := b.open(t), b.open(t)
				ids := []string{uuid.NewString(), uuid.NewString()}
				for i, id := range ids {
					user := store.NewUser{ID: id, Email: id + "@example.com"}
					name.give(&user, []string{"red", "blue"}[i])
					if _, err := writer.Create(t.Context(), user); err != nil {
						t.Fatal(err)
					}
				}
				move := func(id, to string) {
					t.Helper()
					update := store.Update{ID: id}
					name.move(&update, to)
					if _, err := writer.Update(t.Context(), update); err != nil {
						t.Fatal(err)
					}
				}
				importAs := func(id, to string) {
					t.Helper()
					row := store.NewUser{ID: id, Email: id + "@example.com", OnConflict: store.UpdateOnConflict}
					name.give(&row, to)
					created, err := writer.Import(t.Context(), []store.NewUser{row})
					if err != nil || !created[0].Changed {
						t.Fatalf("imported: %+v, error %v", created, err)
					}
					if u, err := writer.Get(t.Context(), id); err != nil || u.Version != created[0].Version {
						t.Errorf("by id at version %d after an import, want %d, error %v", u.Version, created[0].Version, err)
					}
				}
				want := func(c *Cache, owners map[string]string) error {
					for is, id := range owners {
						u, err := name.find(c, is)
						if err != nil && !errors.Is(err, store.ErrNotFound) || u.ID != id {
							return fmt.Errorf("%s is found to be of %q, want %q, error %v", is, u.ID, id, err)
						}
					}
					return nil
				}
				know := func(owners map[string]string) { // Both know well who has which.
					t.Helper()
					for _, c := range []*Cache{writer, other} {
						for _, k := range []key{emailKey("red@example.com"), emailKey("blue@example.com"), externalIDKey("red"), externalIDKey("blue")} {
							c.floors.forget(k) // As after X.
						}
						for range 3 {
							if err := want(c, owners); err != nil {
								t.Fatal(err)
							}
						}
					}
				}
				moved := func(owners map[string]string) {
					t.Helper()
					written := time.Now()
					if err := want(writer, owners); err != nil {
						t.Errorf("on the server that wrote: %v", err)
					}
					for asked := written; ; asked = time.Now() {
						err := want(other, owners)
						if err == nil {
							break
						}
						if asked.Sub(written) > other.config.Staleness+time.Second {
							t.Fatalf("on another server, after X: %v", err)
						}
					}
				}
				know(map[string]string{"red": ids[0], "blue": ids[1]})
				move(ids[0], "green")
				moved(map[string]string{"red": "", "green": ids[0], "blue": ids[1]})
				move(ids[1], "red")
				moved(map[string]string{"red": ids[1], "green": ids[0], "blue": ""})
				know(map[string]string{"red": ids[1], "blue": ""})
				move(ids[0], "blue")
				move(ids[1], "green")
				move(ids[0], "red")
				moved(map[string]string{"red": ids[0], "green": ids[1], "blue": ""})
				know(map[string]string{"red": ids[0], "green": ids[1], "blue": ""})
				importAs(ids[0], "blue")
				importAs(ids[1], "red")
				moved(map[string]string{"red": ids[1], "green": "", "blue": ids[0]})
			})
		})
	}
}

// The clock of a database may be ahead of the server's.
func TestRelayLagIsNeverNegative(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		u := b.user(t)
		c := b.open(t)
		b.store.mu.Lock()
		b.store.ahead = time.Minute
		b.store.mu.Unlock()
		for c.Stats().Relayed == 0 { // Redis may answer too late for a relay to be counted.
			rename(t, b.store, u.ID, "two")
			c.caughtUp(t)
		}
		if lag := c.Stats().RelayLag; lag < 0 {
			t.Errorf("a change was relayed %v before it was made", -lag)
		}
	})
}

// Trust rests on calls that do not wait behind those of readers.
func TestTrustWhileCallersHaveAllConnections(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		u := b.user(t)
		b.store.full.Store(true)
		c := b.open(t)
		warm(t, c, u.ID, 1)
		rename(t, b.store, u.ID, "two")
		c.caughtUp(t)
		awaitNewer(t, c, u.ID, 2)
		if n := b.store.queued.Load(); n > 0 {
			t.Errorf("%d calls that keep the cache trusted have waited behind others", n)
		}
	})
}

// Cached gives what Lookup would, and nothing where Lookup would have to ask.
func TestCached(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		var later atomic.Int64
		c := b.open(t, func(config *Config) {
			config.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		})
		u, other := b.user(t), b.user(t)
		warm(t, c, u.ID, 1)
		before, asked, hits := c.Stats(), b.store.reads.Load(), int64(1)
		if e, ok := c.Cached(u.ID, Read{MinVersion: 1}); !ok || !e.Found || e.Version != 1 {
			t.Errorf("what is near: %+v, %v", e, ok)
		}
		for name, read := range map[string]Read{"without the cache": {NoCache: true}, "of a version to come": {MinVersion: 2}} {
			if e, ok := c.Cached(u.ID, read); ok {
				t.Errorf("%s: %+v, want none", name, e)
			}
		}
		if e, ok := c.Cached(other.ID, Read{}); ok {
			t.Errorf("what was never read: %+v, want none", e)
		}
		c.floors.raise(userKey(u.ID), 2)
		if e, ok := c.Cached(u.ID, Read{}); ok {
			if hits++; c.floors.of(userKey(u.ID)).version == 2 { // It goes with two heartbeats.
				t.Errorf("older than what was shown: %+v, want none", e)
			}
		}
		if n := c.Stats().NearHits - before.NearHits; n != hits {
			t.Errorf("counted %d hits, want %d", n, hits)
		}
		if n := b.store.reads.Load() - asked; n != 0 {
			t.Errorf("%d reads of the store, want none", n)
		}
		warm(t, c, other.ID, 1)
		b.store.down.Store(true) // No samples any more.
		later.Store(int64(c.config.Staleness))
		if e, ok := c.Cached(other.ID, Read{}); ok {
			t.Errorf("without trust: %+v, want none", e)
		}
	})
}

// Not in parallel: it counts allocations.
func TestCachedAllocatesNothing(t *testing.T) {
	for name, url := range map[string]string{
		"in process": "", "Redis": cachetest.Start(t).URL(), "Cluster": cachetest.StartCluster(t, nil).URL(),
	} {
		t.Run(name, func(t *testing.T) {
			b := &bundle{store: newFakeStore(), url: url}
			c := b.open(t)
			u := b.user(t)
			warm(t, c, u.ID, 1)
			before := c.Stats()
			if n := testing.AllocsPerRun(1000, func() { c.Cached(u.ID, Read{}) }); n != 0 {
				t.Errorf("%v allocations, want none", n)
			}
			if hits := c.Stats().NearHits - before.NearHits; hits < 1000 {
				t.Errorf("%d hits of 1000", hits)
			}
		})
	}
}

// A writer that died between its commit and its apply leaves work to the relay.
func TestRelayShowsWhatNobodyApplied(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		c := b.open(t)
		u := b.user(t)
		warm(t, c, u.ID, 1)
		rename(t, b.store, u.ID, "two")
		awaitNewer(t, c, u.ID, 2)
	})
}

func TestReadOptions(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		c := b.open(t)
		u := b.user(t)
		warm(t, c, u.ID, 1)
		rename(t, b.store, u.ID, "two")
		if e, err := c.Lookup(t.Context(), u.ID, Read{NoCache: true}); err != nil || e.Version != 2 {
			t.Errorf("without the cache: %d, %v, want 2", e.Version, err)
		}
		rename(t, b.store, u.ID, "three")
		if e, err := c.Lookup(t.Context(), u.ID, Read{MinVersion: 3}); err != nil || e.Version != 3 {
			t.Errorf("of version 3 at least: %d, %v, want 3", e.Version, err)
		}
		look(t, c, u.ID, 3) // What was shown is shown again.
		entries, err := c.LookupMany(t.Context(), []string{u.ID, uuid.NewString(), u.ID}, Read{})
		if err != nil || len(entries) != 3 || entries[0].Version != 3 || entries[1].Found || entries[2].Version != 3 {
			t.Errorf("many: %v, %v", entries, err)
		}
	})
}

// The counter-example to a set after a read: a slow reader puts an old value back.
func TestSlowReaderPutsNothingBack(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		c := b.open(t)
		for !losesLease(t, b, c) { // On a busy machine Redis may be too late for any lease.
		}
	})
}

// losesLease has a user renamed while a slow reader has the lease, and returns whether that is
// lost then. It returns false where Redis did not answer in time.
func losesLease(t *testing.T, b *bundle, c *Cache) bool {
	u := b.user(t)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	await := func(version int64, what string, reached func(Stats) bool) {
		for deadline := time.Now().Add(10 * time.Second); !reached(c.Stats()); <-again.C {
			look(t, c, u.ID, version)
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, c.Stats())
			}
		}
	}
	before := c.Stats()
	await(1, "the cache is not trusted", func(s Stats) bool { return s.Trusted })
	u = b.user(t) // Of whom nobody has asked.
	read, release := make(chan struct{}), make(chan struct{})
	hold := func(string) {
		close(read)
		<-release
	}
	b.store.afterGet.Store(&hold)
	done := make(chan Entry)
	go func() {
		e, _ := c.Lookup(context.Background(), u.ID, Read{})
		done <- e
	}()
	<-read // The reader has version 1 and the lease.
	b.store.afterGet.Store(nil)
	rename(t, c, u.ID, "two")
	close(release)
	<-done
	for range 100 {
		look(t, c, u.ID, 2)
	}
	late := func(s Stats) bool { return !maps.Equal(s.Errors, before.Errors) }
	await(2, "no lease was lost", func(s Stats) bool { return s.LeasesLost > 0 || late(s) }) // It fills after it has answered.
	return c.Stats().LeasesLost > 0
}

func TestCallersShareAFlight(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		c := b.open(t)
		u := b.user(t)
		read, release := make(chan struct{}, 100), make(chan struct{})
		hold := func(string) {
			read <- struct{}{}
			<-release
		}
		b.store.afterGet.Store(&hold)
		impatient, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := c.Lookup(impatient, u.ID, Read{})
			left <- err
		}()
		<-read
		done := make(chan error)
		const callers = 10
		for range callers {
			go func() {
				_, err := c.Lookup(context.Background(), u.ID, Read{})
				done <- err
			}()
		}
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the one who left: %v, want its own context's error", err)
		}
		close(release)
		for range callers {
			if err := <-done; err != nil {
				t.Errorf("one who stayed: %v", err)
			}
		}
	})
}

// One whose reads are refused is refused alone, and not those who share a flight with him.
func TestFlightThatIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := bundle{store: newFakeStore()}
		c := b.open(t)
		u := b.user(t)
		release := make(chan struct{})
		hold := func(string) { <-release }
		b.store.afterGet.Store(&hold)
		look := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := c.Lookup(ctx, u.ID, Read{})
				done <- err
			}()
			synctest.Wait()
			return done
		}
		refused := look(context.WithValue(t.Context(), refusedKey{}, true))
		others := []chan error{look(t.Context()), look(t.Context())}
		close(release)
		if err := <-refused; !errors.Is(err, store.ErrOverloaded) {
			t.Errorf("the one who is refused: %v", err)
		}
		for _, other := range others {
			if err := <-other; err != nil {
				t.Errorf("one who shared his flight: %v", err)
			}
		}
		if reads := b.store.reads.Load(); reads != 3 {
			t.Errorf("%d reads of the store, want one that is shared and one for each other", reads)
		}
	})
}
