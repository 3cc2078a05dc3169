package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// with returns a URL with a further setting.
func with(t *testing.T, to, name, value string) string {
	t.Helper()
	parsed, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	query := parsed.Query()
	query.Set(name, value)
	parsed.RawQuery = query.Encode()
	return parsed.String()
}

// wantTold checks that a call failed with one line that has these words.
func wantTold(t *testing.T, call string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %v, want %q", call, err, words)
	}
}

func TestDatabasesThatCannotBeUsedAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		url  func(t *testing.T, database string) string
		want string
	}{
		"a setting in the URL that PostgreSQL does not know": {
			func(t *testing.T, database string) string { return with(t, database, "keepalives", "1") },
			"the database does not take a setting in --database",
		},
		"a setting in the URL with a wrong value": {
			func(t *testing.T, database string) string { return with(t, database, "work_mem", "much") },
			"the database does not take a setting in --database",
		},
		"a setting in the URL that only superusers may make": {
			func(t *testing.T, database string) string {
				return with(t, withRole(t, database, ownSQL), "session_replication_role", "replica")
			},
			"or leave settings out of --database that it may not make",
		},
		"a setting in the URL through a pooler": {
			func(t *testing.T, database string) string {
				return with(t, storetest.PgBouncer(t, database), "statement_timeout", "10s")
			},
			"a setting that it does not know is to be left out of --database: ",
		},
		"a pooler that has no room": {
			func(t *testing.T, database string) string {
				pooled := storetest.PgBouncer(t, database, "max_client_conn = 1")
				connect(t, pooled)
				return pooled
			},
			"for what stands behind this",
		},
		"a role that may not connect": {
			func(t *testing.T, database string) string {
				name := connect(t, database).Config().Database
				return withRole(t, database, `revoke connect on database `+name+` from public`)
			},
			"grant connect on the database to it",
		},
		"a search_path of a schema that is not there": {
			func(t *testing.T, database string) string {
				conn := connect(t, database)
				run(t, conn, `alter database `+conn.Config().Database+` set search_path = nowhere, pg_catalog`)
				return database
			},
			"search_path names no schema",
		},
		"an empty search_path through a pooler": {
			func(t *testing.T, database string) string {
				conn := connect(t, database)
				run(t, conn, `alter database `+conn.Config().Database+` set search_path = ''`)
				return storetest.PgBouncer(t, database)
			},
			"search_path names no schema",
		},
		"a schema that the role may not use": {
			func(t *testing.T, database string) string {
				return withRole(t, database, `revoke usage on schema public from public`)
			},
			"grant usage on schema",
		},
		"another encoding through a pooler": {
			func(t *testing.T, database string) string {
				return storetest.PgBouncer(t, newDatabase(t, database, `locale 'C' encoding 'LATIN1'`))
			},
			"encoding 'UTF8'",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, test.url(t, storetest.Postgres(t, migrate)), test.want)
		})
	}
}

// A role may use its tables, but not make them.
func TestARoleThatMayMakeNoTablesIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]string{
		"in a database without a schema": `drop schema public cascade; create schema public; grant usage on schema public to ROLE`,
		"in one with an older schema":    ownSQL + `drop index users_name; delete from userd_migrations; revoke create on schema public from public`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := withRole(t, storetest.Postgres(t, migrate), prepare)
			_, err := postgres.Migrate(t.Context(), postgres.Config{URL: as})
			wantTold(t, "migrate", err, `grant create on schema public to `+connect(t, as).Config().User)
		})
	}
}

// The extension is there, but not for everybody.
func TestAnExtensionInASchemaThatTheRoleMayNotUse(t *testing.T) {
	t.Parallel()
	database := emptyDatabase(t)
	run(t, connect(t, database), `create schema extensions; create extension pg_trgm schema extensions`)
	as := withRole(t, database, `grant create, usage on schema public to ROLE`)
	wantTold(t, "migrate", migrate(t.Context(), as), `grant usage on schema extensions to `+connect(t, as).Config().User)
}

// A role that becomes another one as it connects, whose the tables are.
func TestARoleThatBecomesAnother(t *testing.T) {
	t.Parallel()
	database := emptyDatabase(t)
	owner := withRole(t, database, `grant create, usage on schema public to ROLE`)
	run(t, connect(t, database), `create extension pg_trgm`)
	conn := connect(t, database)
	role := connect(t, owner).Config().User
	run(t, conn, `create role `+role+`_login login in role `+role)
	run(t, conn, `alter role `+role+`_login set role = `+role)
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), `drop role `+role+`_login`); err != nil {
			t.Error(err)
		}
	})
	as := with(t, owner, "user", role+"_login")
	if err := migrate(t.Context(), as); err != nil {
		t.Fatal(err)
	}
	checkUsers(t, open(t, as))
	checkUsers(t, open(t, storetest.PgBouncer(t, as, "pool_mode = transaction")))
}

func TestAStandbyIsRefused(t *testing.T) {
	t.Parallel()
	primary := storetest.NewServer(t)
	if err := migrate(t.Context(), primary.URL("postgres")); err != nil {
		t.Fatal(err)
	}
	standby := primary.NewStandby(t, "standby")
	for _, sessions := range []string{"", "standby", "read-only", "prefer-standby"} {
		to := bothHosts(standby, primary)
		if sessions == "" {
			to = standby.URL("postgres")
		} else {
			to = with(t, to, "target_session_attrs", sessions)
		}
		_, err := postgres.Open(t.Context(), postgres.Config{URL: to})
		wantTold(t, "open with "+sessions, err, "the database takes no writes: it is a standby")
	}
}

// Limits of newer versions, and of few databases, are told of by name.
func TestLimitsThatEndAWrite(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"25P04": "look at transaction_timeout of the role",
		"53400": "look at temp_file_limit of the role",
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s, url := openNew(t)
			run(t, connect(t, url), `
				create function limited() returns trigger language plpgsql as $$
				begin raise exception using errcode = '`+code+`'; end $$;
				create trigger limited before insert on users for each row execute function limited()`)
			_, err := s.Create(t.Context(), newUser())
			wantTold(t, "create", err, want)
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("create: %v", err)
			}
		})
	}
}

// What a migration does takes as long as it takes, but that it gives up a lock soon.
func TestMigrationsHaveNoLimits(t *testing.T) {
	t.Parallel()
	url := withSettings(t, []string{
		`statement_timeout = '1min'`, `lock_timeout = '1min'`, `idle_in_transaction_session_timeout = '1min'`, `transaction_timeout = '1min'`,
	})
	for sql, want := range map[string]map[string]string{
		postgres.BeginTurnSQL: {"idle_in_transaction_session_timeout": "0", "transaction_timeout": "0"},
		postgres.BeginStepSQL: {"lock_timeout": "1500", "statement_timeout": "0", "transaction_timeout": "0"},
	} {
		conn := connect(t, url)
		run(t, conn, sql)
		for name, value := range want {
			var got *string
			err := conn.QueryRow(t.Context(), `select max(setting) from pg_settings where name = $1`, name).Scan(&got)
			if err != nil || got != nil && *got != value {
				t.Errorf("%s: %s is %v, want %s, %v", sql, name, *got, value, err)
			}
		}
	}
}
