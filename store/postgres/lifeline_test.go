package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// slowCreatesSQL makes a create take as long as it is let.
const slowCreatesSQL = `
	create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(600); return new; end';
	create trigger slow before insert on users for each row execute function slow()`

// holdConnections has n creates that do not end hold n connections, until the test ends.
func holdConnections(t *testing.T, s *postgres.Store, url string, n int) {
	t.Helper()
	conn := connect(t, url)
	run(t, conn, slowCreatesSQL)
	ctx, cancel := context.WithCancel(context.Background())
	var creates sync.WaitGroup
	for range n {
		creates.Go(func() {
			for ctx.Err() == nil { // The limit of statements ends them now and then.
				if _, err := s.Create(ctx, newUser()); !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("a create that holds a connection: %v", err)
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		creates.Wait()
	})
	await(t, func() bool { return sessions(t, conn, `wait_event = 'PgSleep'`) == n })
}

func TestLifelines(t *testing.T) {
	t.Parallel()
	for name, through := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const conns = 4
			url := storetest.Postgres(t, migrate)
			s := open(t, fmt.Sprintf("%s&pool_max_conns=%d", through(t, url), conns))
			storetest.Lifelines(t, s, func() { holdConnections(t, s, url, conns) })
			held, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := s.Head(held); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a call that is not vital, while all connections are held: %v", err)
			}
		})
	}
}
