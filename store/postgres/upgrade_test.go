package postgres_test

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// version1SQL is the dump of a database that a server of schema version 1 has written:
// users 1, 2, 4 and 5, and 3, who is deleted.
//
//go:embed testdata/version1.sql
var version1SQL string

func version1ID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// version1 returns the URL of that database, as it was where it was written: a dump that
// is restored elsewhere would get a new change log.
func version1(t *testing.T) string {
	t.Helper()
	url := emptyDatabase(t)
	run(t, connect(t, url), version1SQL)
	run(t, connect(t, url), `
		update changes set xid = pg_current_xact_id();
		update meta set home = (
			select format('%s/%s/%s', system_identifier, pg_database.oid, 'changes'::regclass::oid)
			from pg_control_system(), pg_database where datname = current_database())`)
	return url
}

func TestADatabaseOfVersion1IsMigrated(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{
		"as it is":           ``,
		"known by its parts": `drop table userd_migrations`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := version1(t)
			conn := connect(t, url)
			run(t, conn, before)
			want := store.Schema{Current: 1, Wanted: 3}
			wantSchema(t, url, want)
			if _, err := postgres.Open(t.Context(), postgres.Config{URL: url}); err == nil || err.Error() != "open store: "+want.Check().Error() {
				t.Errorf("open: %v", err)
			}
			if schema, err := postgres.Migrate(t.Context(), postgres.Config{URL: url}); err != nil || schema != want {
				t.Errorf("migrated from %+v, %v", schema, err)
			}
			wantSchema(t, url, store.Schema{Current: 3, Wanted: 3})
			mustCreate(t, open(t, url))
			if recorded := count(t, conn, `select count(*) from userd_migrations`); recorded != 3 {
				t.Errorf("%d versions are recorded", recorded)
			}
		})
	}
	t.Run("after a migration that was interrupted", func(t *testing.T) {
		t.Parallel()
		url := version1(t)
		conn := connect(t, url)
		run(t, conn, `alter table users add column disabled boolean not null default false, add column external_id text collate "C"`)
		run(t, conn, `update users set external_id = 'one'`)
		const createSQL = `create unique index concurrently users_external_id_key on users (external_id) where external_id is not null`
		if _, err := conn.Exec(t.Context(), createSQL); err == nil {
			t.Fatal("an index was made that cannot be")
		}
		run(t, conn, `update users set external_id = null`)
		wantSchema(t, url, store.Schema{Current: 1, Wanted: 3})
		if err := migrate(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		wantSchema(t, url, store.Schema{Current: 3, Wanted: 3})
	})
	t.Run("but not where a part is missing", func(t *testing.T) {
		t.Parallel()
		url := version1(t)
		run(t, connect(t, url), `drop index users_position`)
		wantRefused(t, url, "the schema should be at version 1, but lacks users_position: restore it from a backup")
	})
}

func wantSchema(t *testing.T, url string, want store.Schema) {
	t.Helper()
	if schema, err := postgres.Status(t.Context(), postgres.Config{URL: url}); err != nil || schema != want {
		t.Errorf("schema is %+v, %v, want %+v", schema, err, want)
	}
}

func count(t *testing.T, conn *pgx.Conn, sql string) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAMigratedDatabaseServes(t *testing.T) {
	t.Parallel()
	url := version1(t)
	var head store.Cursor // As a server of version 1 makes it.
	err := connect(t, url).QueryRow(t.Context(),
		`select format('p1.%s.%s', left(incarnation::text, 8), pg_current_snapshot()) from meta`).Scan(&head)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	s := open(t, url)
	if incarnation := s.Identity().Incarnation; incarnation != "88ec7ed5-e6dc-46cc-b5a8-50ca32b4b5c5" {
		t.Errorf("incarnation is %s", incarnation)
	}
	wantVersion1Users(t, s)
	wantFound(t, s, "ΝΙΚΟΣ", version1ID(4)) // By the rule of version 1, the accent would be missing.

	if _, err := s.Create(t.Context(), store.NewUser{ID: version1ID(3), Email: "new@example.com", DisplayName: "New"}); !errors.Is(err, store.ErrIDTaken) {
		t.Errorf("create with the id of a deleted user: %v", err)
	}
	update := store.Update{
		ID: version1ID(4), Email: new("nikos@example.org"), Disabled: new(true), ExternalID: new("issuer|4"),
		SetAttributes: []store.Attribute{{Name: "locale", Value: "el"}},
	}
	if _, err := s.Update(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	got, err := s.GetByExternalID(t.Context(), "issuer|4")
	if err != nil || got.ID != version1ID(4) || got.Email != "nikos@example.org" || !got.Disabled || got.Version != 2 ||
		!slices.Equal(got.Attributes, update.SetAttributes) {
		t.Errorf("user is %+v, %v", got, err)
	}

	ids := []string{version1ID(1), version1ID(2), version1ID(3), version1ID(4), version1ID(5)}
	if all, _ := readAll(t, s, store.Earliest, 3); names(all, ids...) != "0:1 1:1 2:1 3:1 4:1 1:2 0:2 2:2 3:2" {
		t.Errorf("changes are %s", names(all, ids...))
	}
	if since, _ := readAll(t, s, head, 3); names(since, ids...) != "3:2" {
		t.Errorf("changes after a cursor of version 1 are %s", names(since, ids...))
	}
}

func wantFound(t *testing.T, s store.Store, name, id string) {
	t.Helper()
	found, err := s.List(t.Context(), store.Query{NameContains: name, Limit: 2})
	if err != nil || len(found.Users) != 1 || found.Users[0].ID != id {
		t.Errorf("%s finds %+v, %v", name, found.Users, err)
	}
}

// wantVersion1Users checks that the users are as the server of version 1 left them.
func wantVersion1Users(t *testing.T, s store.Store) {
	t.Helper()
	at := func(minute, microsecond int) time.Time {
		return time.Date(2026, 3, 14, 9, minute, 53, 589793000+1000*microsecond, time.UTC)
	}
	want := []store.User{
		{
			ID: version1ID(1), Email: "Ada@Example.com", DisplayName: "Ada Lovelace", Roles: []string{"admin", "reader"},
			CreatedAt: at(27, 0), UpdatedAt: at(32, 0), LastLogin: at(31, 0), Version: 2,
		},
		{
			ID: version1ID(2), Email: "grace@example.com", DisplayName: "Rear Admiral Hopper", Roles: []string{"member"},
			CreatedAt: at(28, 0), UpdatedAt: at(31, 0), Version: 2,
		},
		{
			ID: version1ID(4), Email: "nikos@example.com", DisplayName: "Νίκος", Roles: []string{"member"},
			CreatedAt: at(30, 0), UpdatedAt: at(30, 0), Version: 1,
		},
		{
			ID: version1ID(5), Email: "o'brien@example.com", DisplayName: `Zoë \ "日本"`,
			CreatedAt: at(30, 1), UpdatedAt: at(30, 1), Version: 1,
		},
	}
	got, err := s.List(t.Context(), store.Query{Limit: 10})
	if err != nil || !slices.EqualFunc(got.Users, want, func(a, b store.User) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Errorf("users are\n%v, %v, want\n%v", got, err, want)
	}
}

// The writes of servers of version 1. They prepare their statements once.
const (
	oldLockTimeout = `set lock_timeout = 2000`

	// $1 id, $2 name
	oldUpdateSQL = `
		with locked as (
			select id, email, display_name, roles, created_at, updated_at, last_login, version from users where id = $1 for update
		), decided as (
			select locked.*, $2::text as new_name from locked
		), changed as (
			update users set display_name = new_name, folded_name = lower(new_name), updated_at = now(), version = users.version + 1
			from decided where users.id = decided.id
			returning users.id, users.version, users.updated_at
		), logged as (
			insert into changes (user_id, version, kind, at) select id, version, 'upserted', updated_at from changed
		)
		select version from changed`

	// $1 id, $2 time of the login
	oldLoginSQL = `
		with current as (
			select *, last_login is null or $2 > last_login as due from users where id = $1
		), locked as (
			select id from users where id = $1 and (select due from current) for update
		), changed as (
			update users set last_login = $2, updated_at = now(), version = version + 1
			from locked where users.id = locked.id
			returning users.id, users.version, users.updated_at
		), logged as (
			insert into changes (user_id, version, kind, at) select id, version, 'upserted', updated_at from changed
		)
		select version from changed union all select version from current where not exists (select from changed)`
)

// oldServer writes as a server of version 1 does, until done is closed.
func oldServer(ctx context.Context, url string, writes *atomic.Int64, done <-chan struct{}) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, oldLockTimeout); err != nil {
		return err
	}
	for {
		select {
		case <-done:
			return nil
		default:
		}
		if err := oldWrites(ctx, conn); err != nil {
			return err
		}
		writes.Add(1)
	}
}

func oldWrites(ctx context.Context, conn *pgx.Conn) error {
	user := newUser()
	if _, err := conn.Exec(ctx, insertUserSQL, user.ID, user.Email); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	var version int64
	if err := conn.QueryRow(ctx, oldUpdateSQL, user.ID, "Changed").Scan(&version); err != nil || version != 2 {
		return fmt.Errorf("update to version %d: %w", version, err)
	}
	if err := conn.QueryRow(ctx, oldLoginSQL, user.ID, time.Now()).Scan(&version); err != nil || version != 3 {
		return fmt.Errorf("login at version %d: %w", version, err)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return oldImport(ctx, tx) })
}

func oldImport(ctx context.Context, tx pgx.Tx) error {
	user, now := newUser(), time.Now()
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"users"},
		[]string{"id", "email", "display_name", "folded_name", "roles", "created_at", "updated_at", "version"},
		pgx.CopyFromRows([][]any{{user.ID, user.Email, "Imported", "imported", []string{"member"}, now, now, 1}}))
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"changes"}, []string{"user_id", "version", "kind", "at"},
		pgx.CopyFromRows([][]any{{user.ID, 1, "upserted", now}}))
	return err
}

func TestServersOfVersion1GoOnDuringAndAfterAMigration(t *testing.T) {
	t.Parallel()
	url := version1(t)
	var writes atomic.Int64
	done := make(chan struct{})
	var servers errgroup.Group
	for range 4 {
		servers.Go(func() error { return oldServer(t.Context(), url, &writes, done) })
	}
	awaitMore := func() {
		next := writes.Load() + 50
		await(t, func() bool { return writes.Load() >= next })
	}
	awaitMore()
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	awaitMore()
	s := open(t, url)
	created, err := s.Create(t.Context(), store.NewUser{
		ID: newUser().ID, Email: "new@example.com", DisplayName: "New", Disabled: true, ExternalID: "new",
		Attributes: []store.Attribute{{Name: "tenant", Value: "a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := connect(t, url).QueryRow(t.Context(), oldUpdateSQL, created.ID, "By an old server").Scan(&created.Version); err != nil {
		t.Fatal(err)
	}
	awaitMore()
	close(done)
	if err := servers.Wait(); err != nil {
		t.Error(err)
	}
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
	got, err := s.Get(t.Context(), created.ID)
	if err != nil || got.DisplayName != "By an old server" || !got.Disabled || got.ExternalID != "new" || !slices.Equal(got.Attributes, created.Attributes) {
		t.Errorf("after an update by an old server the user is %+v, %v", got, err)
	}
}

// Whoever wants a table waits behind a migration that waits for a long transaction.
func TestAMigrationDoesNotHoldUpServersForLong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ before, long string }{
		"that waits for a reader of the table": {``, `select from users`},
		"that waits for a writer to make an index": {
			`alter table users add column disabled boolean not null default false, add column external_id text collate "C",
				add column attributes jsonb not null default '{}'`,
			`delete from users where false`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := version1(t)
			run(t, connect(t, url), test.before)
			long := begin(t, connect(t, url))
			run(t, long, test.long)
			migrated := make(chan error, 2)
			for range 2 {
				go func() { migrated <- migrate(t.Context(), url) }()
			}
			awaitBlocked(t, url)

			server := connect(t, url)
			run(t, server, oldLockTimeout)
			insertUser(t, server, newUser().ID, newUser().Email)
			if len(migrated) > 0 {
				t.Errorf("migrated during a long transaction: %v", <-migrated)
			}
			if err := long.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := <-migrated; err != nil {
					t.Error(err)
				}
			}
			mustCreate(t, open(t, url))
		})
	}
}
