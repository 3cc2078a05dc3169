package cache

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/store"
)

// behind returns a cache that never hears of what is committed behind its back, and trusts
// what it has all the same: only what it has shown keeps it from what is old.
func (b *bundle) behind(t testing.TB) *Cache {
	t.Helper()
	b.lines = make(lines, 1000)
	config := Config{Redis: b.url, Logger: slog.New(b.lines), Staleness: time.Hour} // Floors last for as long.
	c, err := openWeak(b.store, config, func(c *Cache) backend {
		complete := c.clock() // As of the beginning.
		return relayless{trusting{c.backend, func() int64 { return complete }}}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	b.lines.await(t, "cache is trusted")
	for range 2 { // The second is taken when floors have been let go for the first time, and the last.
		c.beatNow <- struct{}{}
	}
	return c
}

// A user of whom a server has said that there is none is not shown by it any more, though its
// cache has it still.
func TestWhoIsGoneStaysGone(t *testing.T) {
	t.Parallel()
	none := func(e Entry, err error) error {
		if err == nil && e.Found {
			return errors.New("found")
		}
		return err
	}
	for told, tell := range map[string]func(t *testing.T, c *Cache, id string) error{
		"by a read without the cache": func(t *testing.T, c *Cache, id string) error {
			return none(c.Lookup(t.Context(), id, Read{NoCache: true}))
		},
		"by a read of many without the cache": func(t *testing.T, c *Cache, id string) error {
			entries, err := c.LookupMany(t.Context(), []string{uuid.NewString(), id}, Read{NoCache: true})
			return errors.Join(err, none(entries[1], nil))
		},
		"by a read of the version of the deletion": func(t *testing.T, c *Cache, id string) error {
			return none(c.Lookup(t.Context(), id, Read{MinVersion: 2}))
		},
		"by an update": func(t *testing.T, c *Cache, id string) error {
			_, err := c.Update(t.Context(), store.Update{ID: id})
			return err
		},
		"by a deletion": func(t *testing.T, c *Cache, id string) error {
			_, err := c.Delete(t.Context(), id, 0)
			return err
		},
		"by a login": func(t *testing.T, c *Cache, id string) error {
			_, err := c.RecordLogin(t.Context(), id, time.Now(), 0)
			return err
		},
		"by the change log": func(t *testing.T, c *Cache, _ string) error {
			_, _, err := c.Changes(t.Context(), "0", 10)
			return err
		},
	} {
		t.Run(told, func(t *testing.T) {
			t.Parallel()
			onBackends(t, func(t *testing.T, b *bundle) {
				c, u := b.behind(t), b.user(t)
				warm(t, c, u.ID, 1)
				b.store.put(u, store.Deleted)
				if err := tell(t, c, u.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Fatal(err)
				}
				if e, err := c.Lookup(t.Context(), u.ID, Read{}); err != nil || e.Found {
					t.Errorf("then it is found %v at version %d, error %v", e.Found, e.Version, err)
				}
				if e, ok := c.Cached(u.ID, Read{}); ok && e.Found {
					t.Errorf("then it is near at version %d", e.Version)
				}
			})
		})
	}
}

// A user is cached who was looked for before it was created.
func TestWhoWasNotThereYetIsCached(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		c, id := b.behind(t), uuid.NewString()
		for range 3 {
			if e, err := c.Lookup(t.Context(), id, Read{}); err != nil || e.Found {
				t.Fatalf("before its creation it is found %v, error %v", e.Found, err)
			}
		}
		if _, err := c.Create(t.Context(), store.NewUser{ID: id, Email: id + "@example.com"}); err != nil {
			t.Fatal(err)
		}
		warm(t, c, id, 1)
	})
}

// Whoever is told that a user is not at the version that it has read gets another one when it
// reads the user again.
func TestAMismatchedVersionIsNotShownAgain(t *testing.T) {
	t.Parallel()
	for write, refused := range map[string]func(t *testing.T, c *Cache, id string) error{
		"update": func(t *testing.T, c *Cache, id string) error {
			_, err := c.Update(t.Context(), store.Update{ID: id, ExpectedVersion: 1})
			return err
		},
		"updates of many": func(t *testing.T, c *Cache, id string) error {
			updated, err := c.UpdateMany(t.Context(), []store.Update{{ID: id, ExpectedVersion: 1}})
			return errors.Join(err, updated[0].Err)
		},
	} {
		t.Run(write, func(t *testing.T) {
			t.Parallel()
			onBackends(t, func(t *testing.T, b *bundle) {
				c, u := b.behind(t), b.user(t)
				warm(t, c, u.ID, 1)
				rename(t, b.store, u.ID, "two")
				if err := refused(t, c, u.ID); !errors.Is(err, store.ErrVersionMismatch) {
					t.Fatalf("version 1 was expected: %v", err)
				}
				look(t, c, u.ID, 2)
			})
		})
	}
}

// Whoever was told of a version is shown none before it. The clocks of servers may differ by
// minutes.
func TestWhatWasListedIsShown(t *testing.T) {
	t.Parallel()
	for told, tell := range map[string]func(t *testing.T, c *Cache, id string) error{
		"among many": func(t *testing.T, c *Cache, id string) error {
			users, err := c.GetMany(t.Context(), []string{id})
			if err == nil && (len(users) != 1 || users[0].Version != 2) {
				t.Errorf("it is not listed: %+v", users)
			}
			return err
		},
		"in a list": func(t *testing.T, c *Cache, id string) error {
			page, err := c.List(t.Context(), store.Query{Limit: 10})
			if err == nil && !slices.ContainsFunc(page.Users, func(u store.User) bool { return u.ID == id && u.Version == 2 }) {
				t.Errorf("it is not listed: %+v", page.Users)
			}
			return err
		},
		"by the change log": func(t *testing.T, c *Cache, _ string) error {
			_, _, err := c.Changes(t.Context(), "0", 10)
			return err
		},
	} {
		t.Run(told, func(t *testing.T) {
			t.Parallel()
			onBackends(t, func(t *testing.T, b *bundle) {
				c, u := b.behind(t), b.user(t)
				warm(t, c, u.ID, 1)
				u = rename(t, b.store, u.ID, "two")
				b.store.mu.Lock()
				u.UpdatedAt = u.UpdatedAt.Add(-5 * time.Minute)
				b.store.users[u.ID] = u
				last := &b.store.log[len(b.store.log)-1]
				last.At = last.At.Add(-5 * time.Minute)
				b.store.mu.Unlock()
				if err := tell(t, c, u.ID); err != nil {
					t.Fatal(err)
				}
				look(t, c, u.ID, 2)
			})
		})
	}
}

// Whoever has a name by what this server has shown is found by it, though the cache still has
// another one who had it before.
func TestNamesAreShownAsBefore(t *testing.T) {
	t.Parallel()
	names := map[string]struct {
		give func(u *store.Update, name string)
		find func(c *Cache, name string, read Read) (Entry, error)
	}{
		"email": {
			func(u *store.Update, name string) { u.Email = new(name + "@example.com") },
			func(c *Cache, name string, read Read) (Entry, error) {
				return c.LookupByEmail(context.Background(), name+"@example.com", read)
			},
		},
		"external id": {
			func(u *store.Update, name string) { u.ExternalID = &name },
			func(c *Cache, name string, read Read) (Entry, error) {
				return c.LookupByExternalID(context.Background(), name, read)
			},
		},
	}
	cases := make(map[string]func(*testing.T, *bundle))
	for shown, show := range map[string]func(t *testing.T, c *Cache, id string) error{
		"by id without the cache": func(t *testing.T, c *Cache, id string) error {
			_, err := c.Lookup(t.Context(), id, Read{NoCache: true})
			return err
		},
		"by id": func(t *testing.T, c *Cache, id string) error {
			_, err := c.Lookup(t.Context(), id, Read{})
			return err
		},
		"by ids": func(t *testing.T, c *Cache, id string) error {
			_, err := c.LookupMany(t.Context(), []string{uuid.NewString(), id}, Read{})
			return err
		},
		"in a list": func(t *testing.T, c *Cache, id string) error {
			_, err := c.GetMany(t.Context(), []string{id})
			return err
		},
		"by an update": func(t *testing.T, c *Cache, id string) error {
			_, err := c.Update(t.Context(), store.Update{ID: id, DisplayName: new("two")})
			return err
		},
		"by updates of many": func(t *testing.T, c *Cache, id string) error {
			_, err := c.UpdateMany(t.Context(), []store.Update{{ID: id, DisplayName: new("two")}})
			return err
		},
		"to be nobody's without the cache": nil,
	} {
		for kind, name := range names {
			cases[shown+" with an "+kind] = func(t *testing.T, b *bundle) {
				c, before, now := b.behind(t), b.user(t), b.user(t)
				give := func(id, is string) {
					t.Helper()
					update := store.Update{ID: id}
					name.give(&update, is)
					if _, err := b.store.Update(t.Context(), update); err != nil {
						t.Fatal(err)
					}
				}
				find := func(read Read) string {
					t.Helper()
					e, err := name.find(c, "red", read)
					u, err := c.decode(e, err)
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Fatal(err)
					}
					return u.ID
				}
				give(before.ID, "red")
				again := time.NewTicker(time.Millisecond)
				defer again.Stop()
				for reads := int64(-1); reads != b.store.reads.Load(); <-again.C { // Until it is cached.
					reads = b.store.reads.Load()
					if id := find(Read{}); id != before.ID {
						t.Fatalf("at first it is of %q, want %q", id, before.ID)
					}
				}
				give(before.ID, "green")
				want := ""
				if show == nil {
					find(Read{NoCache: true})
				} else {
					want = now.ID
					give(want, "red")
					if err := show(t, c, want); err != nil {
						t.Fatal(err)
					}
				}
				if id := find(Read{}); id != want {
					t.Errorf("it is of %q, want %q, as was shown", id, want)
				}
			}
		}
	}
	onBackends(t, func(t *testing.T, b *bundle) {
		for name, test := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, &bundle{store: newFakeStore(), url: b.url})
			})
		}
	})
}

// Whoever has a name by what this server has shown or written is cached by it.
func TestNamesAreCachedOnceShown(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		c, id := b.behind(t), uuid.NewString()
		if _, err := c.Create(t.Context(), store.NewUser{ID: id, Email: "someone@example.com"}); err != nil {
			t.Fatal(err)
		}
		again := time.NewTicker(time.Millisecond)
		defer again.Stop()
		for deadline := time.Now().Add(10 * time.Second); ; <-again.C {
			if _, err := c.LookupByEmail(t.Context(), "someone@example.com", Read{NoCache: true}); err != nil {
				t.Fatal(err)
			}
			reads := b.store.reads.Load()
			if u, err := c.GetByEmail(t.Context(), "someone@example.com"); err != nil || u.ID != id {
				t.Fatalf("it is %+v, error %v", u, err)
			}
			if b.store.reads.Load() == reads {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the store is asked each time")
			}
		}
	})
}

// Where floors were forgotten, what does not contain all that was committed by then is not shown.
func TestWhatWasForgottenIsNotShownAgain(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		c, u := b.behind(t), b.user(t)
		warm(t, c, u.ID, 1)
		rename(t, b.store, u.ID, "two")
		if e, err := c.Lookup(t.Context(), u.ID, Read{NoCache: true}); err != nil || e.Version != 2 {
			t.Fatalf("without the cache at version %d, error %v, want 2", e.Version, err)
		}
		c.floors.least.Store(c.clock())
		c.floors.forget(userKey(u.ID))
		look(t, c, u.ID, 2)
		if e, ok := c.Cached(u.ID, Read{}); ok {
			t.Errorf("it is near at version %d", e.Version)
		}
	})
}

// What an import has written is not remembered for longer than the cache needs to contain it.
func TestFloorsOfAnImportGo(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		b.lines = make(lines, 1000)
		h, config := new(halting), Config{Redis: b.url, Logger: slog.New(b.lines), Staleness: time.Hour}
		c, err := openWeak(b.store, config, func(c *Cache) backend {
			h.backend = c.backend
			return h
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		b.lines.await(t, "cache is trusted")
		users := make([]store.NewUser, 10)
		for i := range users {
			u := b.user(t)
			users[i] = store.NewUser{ID: u.ID, Email: u.ID + "@example.com", ExternalID: u.ID, OnConflict: store.UpdateOnConflict}
		}
		c.caughtUp(t)
		h.halted.Store(true)
		if _, err := c.Import(t.Context(), users); err != nil {
			t.Fatal(err)
		}
		if n := c.floors.size(); n < 3*len(users) {
			t.Fatalf("%d floors after %d rows, want three of each", n, len(users))
		}
		h.halted.Store(false)
		looked := time.NewTicker(time.Millisecond)
		defer looked.Stop()
		for c.floors.size() > 0 {
			select {
			case <-looked.C:
			case <-t.Context().Done():
				t.Fatalf("%d floors are there still", c.floors.size())
			}
		}
		look(t, c, users[0].ID, 2)
	})
}

func (f *floors) size() (n int) {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.RLock()
		n += len(s.now) + len(s.last) + len(s.nowOwned) + len(s.lastOwned)
		s.mu.RUnlock()
	}
	return n
}
