package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// backends returns the processes that serve a store on the database of conn.
func backends(t *testing.T, conn *pgx.Conn) []int32 {
	t.Helper()
	rows, err := conn.Query(t.Context(), `select pid from pg_stat_activity
		where datname = current_database() and application_name = 'userd' order by pid`)
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// fill has a store make all connections that it may.
func fill(t *testing.T, s *postgres.Store, url, id string, conns int) {
	t.Helper()
	lock, watch := begin(t, connect(t, url)), connect(t, url)
	run(t, lock, `lock table users in access exclusive mode`)
	var gets errgroup.Group
	get := func() (store.User, error) { return s.Get(t.Context(), id) }
	for range conns {
		gets.Go(func() error { _, err := patiently(get); return err })
	}
	await(t, func() bool { return sessions(t, watch, `wait_event_type = 'Lock'`) == conns })
	if err := errors.Join(lock.Rollback(t.Context()), gets.Wait()); err != nil {
		t.Fatal(err)
	}
}

// Callers whose deadlines are too short for the database cost it no connections, and
// callers with time do not notice them.
func TestCallersInAHurryCostNoConnections(t *testing.T) {
	t.Parallel()
	for name, through := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const conns, rounds = 4, 20
			url := storetest.Postgres(t, migrate)
			s := open(t, fmt.Sprintf("%s&pool_max_conns=%d", through(t, url), conns))
			user, conn := mustCreate(t, s), connect(t, url)
			get := func() (store.User, error) { return s.Get(t.Context(), user.ID) }
			fill(t, s, url, user.ID, conns)
			known, more := backends(t, conn), 0
			for range rounds {
				lock := begin(t, conn)
				run(t, lock, `lock table users in access exclusive mode`)
				var patient errgroup.Group
				patient.Go(func() error { _, err := patiently(get); return err })
				hurry(t, s, user.ID)
				if err := errors.Join(lock.Rollback(t.Context()), patient.Wait()); err != nil {
					t.Fatal(err)
				}
				hurry(t, s, user.ID)
				mustCreate(t, s)
				for _, pid := range backends(t, conn) {
					if !slices.Contains(known, pid) {
						known, more = append(known, pid), more+1
					}
				}
			}
			if more > rounds/2 { // A database that stands still for a second costs those that there are.
				t.Errorf("in %d rounds there were %d new connections", rounds, more)
			}
		})
	}
}

// hurry gets a user many times with little time.
func hurry(t *testing.T, s store.Store, id string) {
	t.Helper()
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for range 8 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				if _, err := s.Get(ctx, id); err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("get in a hurry: %v", err)
				}
				cancel()
			}
		})
	}
	callers.Wait()
}

// A write whose caller leaves while it waits for a lock does not happen later.
func TestWritesEndWithTheirCallers(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user, other, watch := mustCreate(t, s), connect(t, url), connect(t, url)
	taken := newUser()
	for name, write := range map[string]func(ctx context.Context) (any, error){
		"Update": func(ctx context.Context) (any, error) {
			return s.Update(ctx, store.Update{ID: user.ID, DisplayName: new("late")})
		},
		"UpdateMany": func(ctx context.Context) (any, error) {
			return s.UpdateMany(ctx, []store.Update{{ID: user.ID, DisplayName: new("late")}})
		},
		"Delete": func(ctx context.Context) (any, error) { return s.Delete(ctx, user.ID, 0) },
		"Create": func(ctx context.Context) (any, error) { return s.Create(ctx, taken) },
		"Import": func(ctx context.Context) (any, error) { return s.Import(ctx, []store.NewUser{newUser(), taken}) },
	} {
		head := mustHead(t, s)
		hold := begin(t, other)
		run(t, hold, `select from users where id = $1 for update`, user.ID)
		insertUser(t, hold, newUser().ID, taken.Email)
		ctx, cancel := context.WithCancel(t.Context())
		written := make(chan error, 1)
		go func() {
			_, err := patiently(func() (any, error) { return write(ctx) })
			written <- err
		}()
		awaitBlocked(t, url)
		cancel()
		if err := <-written; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		await(t, func() bool { return sessions(t, watch, `wait_event_type = 'Lock'`) == 0 })
		if err := hold.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if changes, _ := readAll(t, s, head, 10); len(changes) > 0 {
			t.Errorf("%s has written %v when its caller had left", name, changes)
		}
	}
}
