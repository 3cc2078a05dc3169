package storetest

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/example/userd/store"
)

// benchUsers is the number of users in a store that reads are measured on.
const benchUsers = 10_000

// Bench measures a store. Each call of open opens a store of its own, which is empty.
func Bench(b *testing.B, open func(b *testing.B) store.Store) {
	b.Run("Write", func(b *testing.B) { benchWrites(b, open(b)) })
	b.Run("Read", func(b *testing.B) { benchReads(b, open(b)) })
}

func benchWrites(b *testing.B, s store.Store) {
	ctx := b.Context()
	user := benchImport(b, s, 1)[0]
	measure(b, "CreateSerial", func(int) error { return errOf(s.Create(ctx, benchUser())) })
	b.Run("CreateParallel16", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(max(1, 16/runtime.GOMAXPROCS(0)))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Create(ctx, benchUser()); err != nil {
					b.Error(err)
				}
			}
		})
	})
	measure(b, "Update", func(i int) error {
		return errOf(s.Update(ctx, store.Update{ID: user.ID, DisplayName: new(fmt.Sprint("name ", i))}))
	})
	b.Run("Import1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			users := benchNewUsers(1000)
			b.StartTimer()
			if _, err := s.Import(ctx, users); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(1000*b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("ImportAgain1000", func(b *testing.B) { // All are there, and as the rows say.
		users := benchImport(b, s, 1000)
		for i := range users {
			users[i].OnConflict = store.UpdateOnConflict
		}
		b.ReportAllocs()
		for b.Loop() {
			if created, err := s.Import(ctx, users); err != nil || created[999] != (store.Created{ID: users[999].ID, Version: 1, Existing: true}) {
				b.Fatal(created[999], err)
			}
		}
		b.ReportMetric(float64(1000*b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("UpdateMany256", func(b *testing.B) { benchUpdates(b, s, 256) })
}

// benchUpdates gives users, so many at a time, another name.
func benchUpdates(b *testing.B, s store.Store, group int) {
	users := benchImport(b, s, benchUsers)
	updates := make([]store.Update, group)
	b.ReportAllocs()
	next := 0
	for b.Loop() {
		name := fmt.Sprint("name ", next)
		for i := range updates {
			updates[i] = store.Update{ID: users[spread(next)].ID, DisplayName: &name}
			next++
		}
		if updated, err := s.UpdateMany(b.Context(), updates); err != nil || !updated[group-1].Changed {
			b.Fatal(updated, err)
		}
	}
	b.ReportMetric(float64(group*b.N)/b.Elapsed().Seconds(), "rows/s")
}

func benchReads(b *testing.B, s store.Store) {
	ctx := b.Context()
	users := benchImport(b, s, benchUsers)
	start, middle := benchMiddle(b, s)
	measure(b, "Get", func(i int) error { return errOf(s.Get(ctx, users[spread(i)].ID)) })
	b.Run("GetParallel16", func(b *testing.B) { benchGetParallel(b, s, users) })
	measure(b, "GetMany100", func(i int) error {
		ids := make([]string, 100)
		for j := range ids {
			ids[j] = users[spread(100*i+j)].ID
		}
		return errOf(s.GetMany(ctx, ids))
	})
	measure(b, "GetByEmail", func(i int) error { return errOf(s.GetByEmail(ctx, users[spread(i)].Email)) })
	measure(b, "List1000", func(int) error { return errOf(s.List(ctx, store.Query{After: start, Limit: 1000})) })
	measure(b, "SearchByRole", func(int) error {
		return errOf(s.List(ctx, store.Query{Role: "rare", After: start, Limit: 10}))
	})
	measure(b, "SearchByEmail", func(i int) error {
		return errOf(s.List(ctx, store.Query{EmailPrefix: users[spread(i)].Email[:6], Limit: 10}))
	})
	_, last, err := s.Changes(ctx, middle, benchUsers/2-1)
	if err != nil {
		b.Fatal(err)
	}
	measure(b, "Changes1", func(int) error { // What those who follow the log ask for.
		_, _, err := s.Changes(ctx, last, 1000)
		return err
	})
	measure(b, "Changes1000", func(int) error {
		_, _, err := s.Changes(ctx, middle, 1000)
		return err
	})
}

// measure calls f with 0, 1, 2 and so on.
func measure(b *testing.B, name string, f func(i int) error) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if err := f(i); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}

func benchGetParallel(b *testing.B, s store.Store, users []store.NewUser) {
	b.ReportAllocs()
	b.SetParallelism(max(1, 16/runtime.GOMAXPROCS(0)))
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Get(context.Background(), users[spread(int(next.Add(1)))].ID); err != nil {
				b.Error(err)
			}
		}
	})
}

// benchMiddle returns a position and a cursor in the middle of the users and of the
// log.
func benchMiddle(b *testing.B, s store.Store) (store.Position, store.Cursor) {
	page, err := s.List(b.Context(), store.Query{Limit: benchUsers / 2})
	if err != nil {
		b.Fatal(err)
	}
	_, cursor, err := s.Changes(b.Context(), store.Earliest, benchUsers/2)
	if err != nil {
		b.Fatal(err)
	}
	return page.Next, cursor
}

// spread turns 0, 1, 2 and so on into indexes of users far from each other.
func spread(i int) int { return i * 7919 % benchUsers }

func benchImport(b *testing.B, s store.Store, n int) []store.NewUser {
	users := benchNewUsers(n)
	if _, err := s.Import(b.Context(), users); err != nil {
		b.Fatal(err)
	}
	return users
}

// benchNewUsers returns users of whom each hundredth has the role rare.
func benchNewUsers(n int) []store.NewUser {
	users := make([]store.NewUser, n)
	for i := range users {
		users[i] = benchUser()
		if i%100 == 0 {
			users[i].Roles = append(users[i].Roles, "rare")
		}
	}
	return users
}

func benchUser() store.NewUser {
	id := uuid.NewString()
	return store.NewUser{ID: id, Email: id + "@example.com", DisplayName: "Ada Lovelace", Roles: []string{"member", "reader"}}
}

// errOf leaves the error of a call.
func errOf[T any](_ T, err error) error { return err }
