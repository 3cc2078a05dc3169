package postgres_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// readmePgBouncer are the settings that the README of cmd/userd has for PgBouncer.
func readmePgBouncer(t testing.TB) []string {
	t.Helper()
	readme, err := os.ReadFile("../../cmd/userd/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "[pgbouncer]\n")
	settings, _, closed := strings.Cut(rest, "```")
	if !found || !closed || !strings.Contains(settings, "pool_mode = transaction") {
		t.Fatalf("settings are %q", settings)
	}
	return strings.Split(strings.TrimSpace(settings), "\n")
}

// ways are those from a server to its database.
var ways = map[string]func(t *testing.T, url string) string{
	"directly":          func(_ *testing.T, url string) string { return url },
	"through PgBouncer": func(t *testing.T, url string) string { return storetest.PgBouncer(t, url, readmePgBouncer(t)...) },
}

// The whole suite through Debian's PgBouncer, each test with its own.
func TestStoreThroughPgBouncer(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, storetest.PgBouncer(t, storetest.Postgres(t, migrate), readmePgBouncer(t)...))
	})
}

// Eight callers share four connections, so that a session's statements meet servers
// that other sessions have used.
func TestCallersThroughPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transaction", "session"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			size := map[string]int{"transaction": 4, "session": 24}[mode]
			url := storetest.PgBouncer(t, emptyDatabase(t), "pool_mode = "+mode, fmt.Sprintf("default_pool_size = %d", size))
			if err := migrate(t.Context(), url); err != nil {
				t.Fatal(err)
			}
			s := open(t, url)
			var group errgroup.Group
			for caller := range 8 {
				group.Go(func() error { return everydayWork(t, s, caller) })
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// everydayWork calls every method that reads or writes, several times.
func everydayWork(t testing.TB, s *postgres.Store, caller int) error {
	ctx := t.Context()
	var failed []error
	check := func(what string, err error) {
		if err != nil {
			failed = append(failed, fmt.Errorf("caller %d: %s: %w", caller, what, err))
		}
	}
	for range 6 {
		user, err := s.Create(ctx, newUser())
		if err != nil {
			return fmt.Errorf("caller %d: create: %w", caller, err)
		}
		_, err = s.Import(ctx, []store.NewUser{newUser(), newUser()})
		check("import", err)
		_, err = s.Get(ctx, user.ID)
		check("get", err)
		_, err = s.GetMany(ctx, []string{user.ID})
		check("get many", err)
		_, err = s.GetByEmail(ctx, user.Email)
		check("get by email", err)
		_, err = s.List(ctx, store.Query{Limit: 10, EmailPrefix: user.Email[:8], NameContains: "é", Role: "admin"})
		check("list", err)
		_, err = s.Update(ctx, store.Update{ID: user.ID, DisplayName: new("Zoë"), AddRoles: []string{"admin"}})
		check("update", err)
		_, err = s.UpdateMany(ctx, []store.Update{{ID: user.ID, RemoveRoles: []string{"admin"}}})
		check("update many", err)
		_, err = s.RecordLogin(ctx, user.ID, user.CreatedAt, 0)
		check("login", err)
		_, _, err = s.Changes(ctx, store.Earliest, 10)
		check("changes", err)
		_, err = s.Delete(ctx, user.ID, 0)
		check("delete", err)
		check("ping", s.Ping(ctx))
	}
	return errors.Join(failed...)
}

func TestPgBouncerInStatementModeIsRefused(t *testing.T) {
	t.Parallel()
	url := storetest.PgBouncer(t, storetest.Postgres(t, migrate), "pool_mode = statement")
	_, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err == nil || !strings.Contains(err.Error(), "set pool_mode = transaction") {
		t.Fatalf("open: %v", err)
	}
}
