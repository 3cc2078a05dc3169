package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store/postgres"
)

// A database that has no room for all connections of the pool, because other programs have
// them, serves all calls with those that there are, and with more when it has room again.
func TestDatabaseWithFewerConnections(t *testing.T) {
	t.Parallel()
	s, admin, log := openAsUserd(t, "secret")
	user := mustCreate(t, s)
	var held int
	if err := admin.QueryRow(t.Context(), `select count(*) from pg_stat_activity where usename = 'userd'`).Scan(&held); err != nil {
		t.Fatal(err)
	}
	run(t, admin, fmt.Sprintf(`alter role userd nosuperuser connection limit %d`, held+crowd))
	callAll(t, s, user.ID)
	if n := strings.Count(log.String(), "calls share those that there are"); n != 1 || strings.Contains(log.String(), "unavailable") {
		t.Errorf("the log says it %d times:\n%s", n, log)
	}
	run(t, admin, `alter role userd connection limit -1`)
	await(t, func() bool {
		callAll(t, s, user.ID)
		calls := s.Stats().Calls
		return calls.InUse+calls.Idle > crowd+1 // The first one was there before.
	})
}

// crowd is how many connections the database has room for.
const crowd = 2

// callAll has more callers than that call the store.
func callAll(t *testing.T, s *postgres.Store, id string) {
	t.Helper()
	var calls errgroup.Group
	for range 12 {
		calls.Go(func() error {
			for range 50 {
				_, read := s.Get(t.Context(), id)
				_, wrote := s.Create(t.Context(), newUser())
				if err := errors.Join(read, wrote); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := calls.Wait(); err != nil {
		t.Error(err)
	}
}
