package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// impostorsSQL makes a schema with functions and operators of PostgreSQL's names that
// do something else, with its arguments or with ones that ours would fit better.
const impostorsSQL = `
	create schema impostors;
	create function impostors.lower(text) returns text language sql immutable as $$ select 'nobody' $$;
	create function impostors.now() returns timestamptz language sql immutable as $$ select timestamptz '1970-01-01' $$;
	create function impostors.pg_current_snapshot() returns pg_snapshot language sql immutable as $$ select pg_snapshot '1:1:' $$;
	create function impostors.cardinality(uuid[]) returns int language sql immutable as $$ select 0 $$;
	create function impostors.cardinality(text[]) returns int language sql immutable as $$ select 1000 $$;
	create function impostors.never(uuid, uuid) returns bool language sql immutable as $$ select false $$;
	create operator impostors.= (leftarg = uuid, rightarg = uuid, function = impostors.never);
	create function impostors.never(text, text) returns bool language sql immutable as $$ select false $$;
	create operator impostors.= (leftarg = text, rightarg = text, function = impostors.never);
	create function impostors.never(text[], text[]) returns bool language sql immutable as $$ select false $$;
	create operator impostors.@> (leftarg = text[], rightarg = text[], function = impostors.never)`

// impostorTablesSQL are tables of our names, beside ours.
const impostorTablesSQL = `
	create table impostors.users (like users including all);
	create table impostors.changes (like changes including all);
	create table impostors.meta (like meta including all);
	create table impostors.deleted_users (like deleted_users including all)`

// withPath returns the URL of a database with the schema, impostors, and a search_path.
func withPath(t *testing.T, path, impostors string) string {
	t.Helper()
	url := storetest.Postgres(t, migrate)
	conn := connect(t, url)
	run(t, conn, impostors)
	run(t, conn, `alter database `+conn.Config().Database+` set search_path = `+path)
	return url
}

func TestAHostileSearchPath(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ path, impostors string }{
		"functions before PostgreSQL's": {`impostors, public, pg_catalog`, impostorsSQL},
		"functions after ours":          {`public, impostors`, impostorsSQL},
		"tables before ours":            {`impostors, public`, impostorsSQL + ";" + impostorTablesSQL},
		"all before PostgreSQL's":       {`impostors, pg_catalog, public`, impostorsSQL + ";" + impostorTablesSQL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := withPath(t, test.path, test.impostors)
			checkUsers(t, open(t, url))
			if err := migrate(t.Context(), url); err != nil {
				t.Errorf("migrate: %v", err)
			}
			if strings.Contains(test.impostors, impostorTablesSQL) {
				wantNoRows(t, connect(t, url), "impostors.users", "impostors.changes", "impostors.deleted_users")
			}
			// Through a pooler we cannot set the path.
			wantRefused(t, storetest.PgBouncer(t, url, "pool_mode = transaction"), "search_path with other schemas than userd's own")
		})
	}
}

// wantRefused checks that a database is refused in one line with these words.
func wantRefused(t *testing.T, url, words string) {
	t.Helper()
	config := postgres.Config{URL: url}
	_, openErr := postgres.Open(t.Context(), config)
	_, migrateErr := postgres.Migrate(t.Context(), config)
	_, statusErr := postgres.Status(t.Context(), config)
	for call, err := range map[string]error{"open": openErr, "migrate": migrateErr, "status": statusErr} {
		wantTold(t, call, err, words)
	}
}

func wantNoRows(t *testing.T, conn *pgx.Conn, tables ...string) {
	t.Helper()
	for _, table := range tables {
		var rows int
		if err := conn.QueryRow(t.Context(), `select pg_catalog.count(*) from `+table).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%s has %d rows, error %v", table, rows, err)
		}
	}
}

// withRole returns the URL of a database as a role of its own, whose name stands for ROLE
// in SQL that is run first.
func withRole(t *testing.T, database, sql string) string {
	t.Helper()
	conn := connect(t, database)
	role := conn.Config().Database + "_role"
	run(t, conn, `create role `+role+` login`)
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), `reassign owned by `+role+` to postgres; drop owned by `+role+`; drop role `+role); err != nil {
			t.Error(err)
		}
	})
	run(t, conn, strings.ReplaceAll(sql, "ROLE", role))
	return with(t, database, "user", role)
}

const (
	grantSQL = `grant all on all tables in schema public to ROLE; grant execute on function pg_control_system() to ROLE;`
	ownSQL   = grantSQL + `alter table users owner to ROLE; alter table changes owner to ROLE;`
)

func TestRowSecurity(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sql     string
		refused bool
	}{
		"of others":                     {sql: ownSQL + `alter table users enable row level security`},
		"for a role that is not exempt": {sql: grantSQL + `alter table users enable row level security`, refused: true},
		"with a policy":                 {sql: grantSQL + `alter table users enable row level security; create policy few on users using (version > 1)`, refused: true},
		"forced on the owner":           {sql: ownSQL + `alter table users enable row level security; alter table users force row level security`, refused: true},
		"with row_security off":         {sql: grantSQL + `alter table changes enable row level security; alter role ROLE set row_security = off`, refused: true},
		"for a role that bypasses it":   {sql: grantSQL + `alter table users enable row level security; alter table users force row level security; alter role ROLE bypassrls`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := withRole(t, storetest.Postgres(t, migrate), test.sql)
			if test.refused {
				wantRefused(t, url, "alter table NAME disable row level security")
				return
			}
			checkUsers(t, open(t, url))
		})
	}
	t.Run("that begins while we look on", func(t *testing.T) {
		t.Parallel()
		database := storetest.Postgres(t, migrate)
		s := open(t, withRole(t, database, grantSQL))
		user := mustCreate(t, s)
		run(t, connect(t, database), `alter table users enable row level security`)
		if _, err := s.Get(t.Context(), user.ID); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "row security") {
			t.Errorf("get of a user who is hidden: %v", err)
		}
	})
}
