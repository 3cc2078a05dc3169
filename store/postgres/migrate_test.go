package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// emptyDatabase returns the URL of a database without a schema.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	url := storetest.Postgres(t, migrate)
	conn := connect(t, url)
	run(t, conn, `drop schema public cascade`)
	run(t, conn, `create schema public`)
	return url
}

func TestServersThatMigrateAtOnceDoItOnce(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	var group errgroup.Group
	for range 4 {
		group.Go(func() error { return migrate(t.Context(), url) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	var applied int
	err := connect(t, url).QueryRow(t.Context(), `select count(*) from goose_db_version where version_id > 0`).Scan(&applied)
	if err != nil || applied != 1 {
		t.Fatalf("%d migrations were applied, %v", applied, err)
	}
	mustCreate(t, open(t, url))
}

func TestOpenRefusesAnotherSchema(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	refuses := func(part string) {
		t.Helper()
		_, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		if err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "userd migrate up") {
			t.Fatalf("open: %v", err)
		}
	}
	refuses("version 0 and this userd needs 1")
	before, err := postgres.Migrate(t.Context(), postgres.Config{URL: url})
	if err != nil || before != (store.Schema{Current: 0, Wanted: 1}) {
		t.Fatalf("migrated from %+v, %v", before, err)
	}
	open(t, url)
	run(t, connect(t, url), `insert into goose_db_version (version_id, is_applied) values (99, true)`)
	refuses("version 99 and this userd knows only 1")
	status, err := postgres.Status(t.Context(), postgres.Config{URL: url})
	if err != nil || status != (store.Schema{Current: 99, Wanted: 1}) {
		t.Fatalf("status is %+v, %v", status, err)
	}
}

func TestAStoreThatWakesUpElsewhereIsAnotherIncarnation(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user := mustCreate(t, s)
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again := open(t, url); again.Identity() != s.Identity() {
		t.Fatalf("opened again it is %v, was %v", again.Identity(), s.Identity())
	}

	// What a restored dump looks like.
	run(t, connect(t, url), `update meta set home = 'elsewhere'`)
	restored := open(t, url)
	if a, b := restored.Identity(), s.Identity(); a.Incarnation == b.Incarnation || a.Secret == b.Secret {
		t.Fatalf("restored it is %v, was %v", a, b)
	}
	if got, err := restored.Get(t.Context(), user.ID); err != nil || got.Version != 1 {
		t.Fatalf("user is %+v, %v", got, err)
	}
	if changes, _, err := restored.Changes(t.Context(), store.Earliest, 10); err != nil || len(changes) != 0 {
		t.Fatalf("changes are %v, %v", changes, err)
	}
	if _, _, err := restored.Changes(t.Context(), head, 10); !errors.Is(err, store.ErrInvalidCursor) {
		t.Fatalf("changes after a cursor of another incarnation: %v", err)
	}
	if _, _, err := s.Changes(t.Context(), head, 10); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("changes of a store that was open during the restore: %v", err)
	}
}

func TestOpenSaysWhenThereIsNoServer(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), postgres.Config{URL: "postgres://localhost:1/userd"})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("open: %v", err)
	}
	if _, err := postgres.Open(t.Context(), postgres.Config{URL: "postgres://localhost:port/userd"}); err == nil {
		t.Fatal("a bad URL is taken")
	}
}

func TestARoleWithoutPrivilegesIsEnough(t *testing.T) {
	t.Parallel()
	_, admin := openNew(t)
	conn := connect(t, admin)
	parsed, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	role := strings.TrimPrefix(parsed.Path, "/") + "_owner"
	run(t, conn, `create role `+role+` login`)
	run(t, conn, `create schema authorization `+role)
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), `drop owned by `+role+`; drop role `+role); err != nil {
			t.Error(err)
		}
	})
	query := parsed.Query()
	query.Set("user", role)
	query.Set("search_path", role)
	parsed.RawQuery = query.Encode()
	if err := migrate(t.Context(), parsed.String()); err != nil {
		t.Fatal(err)
	}
	s := open(t, parsed.String())
	user := mustCreate(t, s)
	if changes, _ := readAll(t, s, store.Earliest, 10); names(changes, user.ID) != "0:1" {
		t.Fatalf("changes are %v", changes)
	}
	if _, err := s.Prune(t.Context(), user.CreatedAt); err != nil {
		t.Fatal(err)
	}
}
