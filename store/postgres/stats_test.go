package postgres_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/stats"
	"github.com/example/userd/store/storetest"
)

// Connections that are in use and calls that wait for one are counted while they do.
func TestStats(t *testing.T) {
	t.Parallel()
	const conns, callers = 3, 5
	url := storetest.Postgres(t, migrate)
	s := open(t, fmt.Sprintf("%s&pool_max_conns=%d", url, conns))
	locker := connect(t, url)
	lock, err := locker.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), `lock table users in exclusive mode`); err != nil {
		t.Fatal(err)
	}
	var creates sync.WaitGroup
	for range callers {
		creates.Go(func() {
			if _, err := patiently(func() (store.Written, error) { return s.Create(t.Context(), newUser()) }); err != nil {
				t.Error(err)
			}
		})
	}
	awaitCalls(t, s, stats.Pool{Max: conns, InUse: conns, Waiting: callers - conns})
	if err := lock.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	creates.Wait()
	awaitCalls(t, s, stats.Pool{Max: conns, Idle: conns})
}

// awaitCalls waits until the pool of calls is as it is to be.
func awaitCalls(t *testing.T, s *postgres.Store, want stats.Pool) {
	t.Helper()
	var got stats.Pool
	defer func() {
		if got != want {
			t.Errorf("the pool is %+v, want %+v", got, want)
		}
	}()
	await(t, func() bool { got = s.Stats().Calls; return got == want })
}
