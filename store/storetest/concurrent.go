package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/example/userd/store"
)

var storeSentences = []sentence{
	{"concurrent updates of one user all count", func(b *bundle) {
		const writers, updates = 8, 15
		user := b.create(newUser())
		versions := make([][]int64, writers)
		b.must(inParallel(writers, func(writer int) error {
			for i := range updates {
				updated, err := b.Update(b.Context(), store.Update{ID: user.ID, DisplayName: new(fmt.Sprint(writer, i))})
				if err != nil {
					return err
				}
				versions[writer] = append(versions[writer], updated.Version)
			}
			return nil
		}))
		var want []int64
		for i := range writers * updates {
			want = append(want, int64(i+2))
		}
		b.same(slices.Sorted(slices.Values(slices.Concat(versions...))), want)
		b.wantLogAgrees()
	}},
	{"an expected version is taken by one", func(b *bundle) {
		user := b.create(newUser())
		for version := int64(1); version < 10; version++ {
			b.wantOneWinner(store.ErrVersionMismatch, func(writer int) error {
				_, err := b.Update(b.Context(), store.Update{
					ID: user.ID, ExpectedVersion: version, DisplayName: new(fmt.Sprint(version, writer)),
				})
				return err
			})
		}
	}},
	{"an email is taken by one", func(b *bundle) {
		for round := range 10 {
			email := fmt.Sprintf("round%d@example.com", round)
			b.wantOneWinner(store.ErrEmailTaken, func(int) error {
				_, err := b.Create(b.Context(), withEmail(email))
				return err
			})
		}
	}},
	{"an id is taken by one", func(b *bundle) {
		for range 10 {
			id := newUser().ID
			b.wantOneWinner(store.ErrIDTaken, func(int) error {
				user := newUser()
				user.ID = id
				_, err := b.Create(b.Context(), user)
				return err
			})
		}
	}},
	{"a user is deleted by one", func(b *bundle) {
		for range 10 {
			user := b.create(newUser())
			b.wantOneWinner(store.ErrNotFound, func(int) error {
				_, err := b.Delete(b.Context(), user.ID, 0)
				return err
			})
		}
	}},
	{"concurrent creates of the same user all succeed", func(b *bundle) {
		user := newUser()
		b.must(inParallel(8, func(int) error {
			_, err := b.Create(b.Context(), user)
			return err
		}))
		b.same(b.logged(store.Earliest), []string{upserted(user.ID, 1)})
	}},
	{"concurrent logins are recorded once", func(b *bundle) {
		user := b.create(newUser())
		at := time.Now()
		b.must(inParallel(8, func(int) error {
			_, err := b.RecordLogin(b.Context(), user.ID, at, time.Minute)
			return err
		}))
		b.same(b.get(user.ID).Version, int64(2))
	}},
	{"names are found as they are while they change", func(b *bundle) {
		const writers, renames = 4, 25
		b.importAll(newUsers(1_200)...) // More than a search looks at before it asks an index.
		b.must(inParallel(writers, func(writer int) error {
			name := func(i int) string { return fmt.Sprintf("Quokka %d of %d.", i, writer) }
			user := named(name(0))
			_, err := b.Create(b.Context(), user)
			for i := 1; err == nil && i <= renames; i++ {
				_, updateErr := b.Update(b.Context(), store.Update{ID: user.ID, DisplayName: new(name(i))})
				_, importErr := b.Import(b.Context(), newUsers(3))
				err = errors.Join(updateErr, importErr, b.findsAll(name(i), user.ID), b.findsAll(name(i-1)))
			}
			return err
		}))
	}},
	{"concurrent imports of the same emails", func(b *bundle) {
		const importers, rows = 4, 50
		var stored atomic.Int64
		b.must(inParallel(importers, func(importer int) error {
			users := newUsers(rows)
			for i := range users {
				users[i].Email = fmt.Sprintf("user%d@example.com", i)
			}
			if importer%2 == 1 {
				slices.Reverse(users)
			}
			created, err := b.Import(b.Context(), users)
			for _, row := range created {
				if row.Err == nil {
					stored.Add(1)
				}
			}
			return err
		}))
		b.same(stored.Load(), int64(rows))
		b.wantLogAgrees()
	}},
	{"the context's error when it has ended", func(b *bundle) {
		user := b.create(newUser())
		head := b.head()
		ctx := canceled(b)
		for name, err := range errorsOfCalls(ctx, b.Store, user.ID, head) {
			if !errors.Is(err, context.Canceled) {
				b.Errorf("%s: error is %v", name, err)
			}
		}
		b.wantUnchanged(user, head)
	}},
	{"the context's deadline when it is over", func(b *bundle) {
		user := b.create(newUser())
		head := b.head()
		ctx, cancel := context.WithDeadline(b.Context(), time.Now().Add(-time.Second))
		defer cancel()
		for name, err := range errorsOfCalls(ctx, b.Store, user.ID, head) {
			if !errors.Is(err, context.DeadlineExceeded) {
				b.Errorf("%s: error is %v", name, err)
			}
		}
		b.wantUnchanged(user, head)
	}},
	{"Ping returns nil when the store can answer", func(b *bundle) { b.must(b.Ping(b.Context())) }},
	{"Close waits for the calls under way", closeWaits},
}

// wantOneWinner calls f eight times at once; one call succeeds and the others fail
// with lost.
func (b *bundle) wantOneWinner(lost error, f func(i int) error) {
	b.Helper()
	var won atomic.Int64
	b.must(inParallel(8, func(i int) error {
		err := f(i)
		if err == nil {
			won.Add(1)
		}
		if errors.Is(err, lost) {
			return nil
		}
		return err
	}))
	if won.Load() != 1 {
		b.Fatalf("%d calls succeeded", won.Load())
	}
}

// canceled returns a context that has ended.
func canceled(b *bundle) context.Context {
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	return ctx
}

// errorsOfCalls calls every method that takes a context. None of them would fail or
// change nothing by itself.
func errorsOfCalls(ctx context.Context, s store.Store, id string, head store.Cursor) map[string]error {
	errs := make(map[string]error)
	_, errs["Create"] = s.Create(ctx, newUser())
	_, errs["Import"] = s.Import(ctx, newUsers(2))
	_, errs["Get"] = s.Get(ctx, id)
	_, errs["GetMany"] = s.GetMany(ctx, []string{id})
	_, errs["GetByEmail"] = s.GetByEmail(ctx, id+"@example.com")
	_, errs["GetByExternalID"] = s.GetByExternalID(ctx, "sub|"+id)
	_, errs["List"] = s.List(ctx, store.Query{Limit: 1})
	_, errs["Update"] = s.Update(ctx, store.Update{ID: id, DisplayName: new("x")})
	_, errs["UpdateMany"] = s.UpdateMany(ctx, []store.Update{{ID: id, DisplayName: new("x")}})
	_, errs["RecordLogin"] = s.RecordLogin(ctx, id, time.Now(), 0)
	_, errs["Delete"] = s.Delete(ctx, id, 0)
	_, errs["Head"] = s.Head(ctx)
	_, _, errs["Changes"] = s.Changes(ctx, store.Earliest, 1)
	_, errs["At"] = s.At(ctx, time.Now())
	errs["Wait"] = s.Wait(ctx, head)
	_, errs["Span"] = s.Span(ctx)
	_, errs["Prune"] = s.Prune(ctx, farFuture)
	errs["Ping"] = s.Ping(ctx)
	return errs
}

// closeWaits closes a store on which others read and write: what they are told is
// either right or that the store is unavailable.
func closeWaits(b *bundle) {
	user := b.create(newUser())
	const workers = 4
	var running atomic.Int64
	started := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- inParallel(workers, func(worker int) error {
			for i := 0; ; i++ {
				err := workOn(b, user.ID, worker)
				if errors.Is(err, store.ErrUnavailable) {
					return nil
				}
				if err != nil {
					return err
				}
				if i == 0 && running.Add(1) == workers {
					close(started)
				}
			}
		})
	}()
	select {
	case <-started:
	case err := <-ended:
		b.Fatalf("calls before Close: %v", err)
	}
	b.must(b.Close())
	b.must(<-ended)
}

func workOn(b *bundle, id string, worker int) error {
	if worker%2 == 0 {
		_, err := b.Create(b.Context(), newUser())
		return err
	}
	_, err := b.GetMany(b.Context(), []string{id, id, id})
	return err
}

var identitySentences = []sentence{
	{"never changes", func(b *bundle) {
		identity := b.Identity()
		b.create(newUser())
		b.prune(farFuture)
		b.same(b.Identity(), identity)
	}},
	{"names the store", func(b *bundle) {
		identity, other := b.Identity(), b.another().Identity()
		if identity.Incarnation == other.Incarnation || identity.Secret == other.Secret {
			b.Error("two stores have one identity")
		}
		if identity.Secret == (store.Identity{}).Secret || len(identity.Incarnation) != 36 {
			b.Errorf("incarnation is %q, or the secret is empty", identity.Incarnation)
		}
	}},
}

// findsAll returns an error unless a search by name finds these users, on as many pages as it
// has.
func (b *bundle) findsAll(name string, want ...string) error {
	var found []string
	query := store.Query{NameContains: name, Limit: 10}
	for {
		page, err := b.List(b.Context(), query)
		if err != nil {
			return err
		}
		found = append(found, idsOf(page.Users)...)
		if query.After = page.Next; query.After == (store.Position{}) {
			break
		}
	}
	if !slices.Equal(found, want) {
		return fmt.Errorf("%q: found %v, want %v", name, found, want)
	}
	return nil
}

// inParallel calls f n times at once and returns the first error.
func inParallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = f(i) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
