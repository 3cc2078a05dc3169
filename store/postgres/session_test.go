package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// harmless are settings of a role or database under which everything is as without
// them, through a pooler too.
var harmless = []string{
	`client_encoding = 'LATIN1'`, `timezone = 'Pacific/Chatham'`, `datestyle = 'German, DMY'`, `intervalstyle = 'sql_standard'`,
	`standard_conforming_strings = off`, `backslash_quote = on`, `bytea_output = 'escape'`, `extra_float_digits = -15`,
	`array_nulls = off`, `transform_null_equals = on`, `quote_all_identifiers = on`, `xmloption = 'document'`,
	`default_transaction_deferrable = on`, `statement_timeout = '30s'`, `lock_timeout = '10s'`,
	`idle_in_transaction_session_timeout = '10s'`, `lc_messages = 'C'`, `client_min_messages = 'error'`, `check_function_bodies = off`,
	`row_security = off`, `enable_indexscan = off`, `plan_cache_mode = 'force_generic_plan'`, `work_mem = '64kB'`, `default_toast_compression = 'pglz'`,
	`escape_string_warning = off`, `lc_time = 'C'`, `lc_numeric = 'C'`, `xmlbinary = 'hex'`, `geqo_threshold = 2`, `from_collapse_limit = 1`,
	`join_collapse_limit = 1`, `enable_seqscan = off`, `enable_bitmapscan = off`, `enable_hashjoin = off`, `enable_hashagg = off`, `enable_sort = off`,
	`jit = off`, `stats_fetch_consistency = 'snapshot'`, `default_tablespace = 'pg_default'`, `default_table_access_method = 'heap'`,
	`lo_compat_privileges = on`, `transaction_timeout = '10s'`, `event_triggers = off`, `client_connection_check_interval = 1000`,
	`plpgsql.variable_conflict = 'error'`, `plpgsql.extra_errors = 'all'`, `plpgsql.extra_warnings = 'all'`,
}

// harmful are those that we set, and refuse to go without where we cannot.
var harmful = []string{
	`default_transaction_isolation = 'serializable'`, `synchronous_commit = off`, `gin_fuzzy_search_limit = 1`, `exit_on_error = on`,
}

func TestSettingsOfARole(t *testing.T) {
	t.Parallel()
	t.Run("harmless", func(t *testing.T) {
		t.Parallel()
		url := withSettings(t, harmless)
		checkUsers(t, open(t, url))
		checkUsers(t, open(t, storetest.PgBouncer(t, url, "pool_mode = transaction")))
	})
	t.Run("harmful", func(t *testing.T) {
		t.Parallel()
		url := withSettings(t, slices.Concat(harmful, []string{`idle_session_timeout = '10s'`}))
		checkUsers(t, open(t, url))
		_, err := postgres.Open(t.Context(), postgres.Config{URL: storetest.PgBouncer(t, url, "pool_mode = transaction")})
		for _, setting := range harmful {
			name, _, _ := strings.Cut(setting, " ")
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("opened through a pooler with %s: %v", setting, err)
			}
		}
	})
	t.Run("read-only", func(t *testing.T) {
		t.Parallel()
		_, err := postgres.Open(t.Context(), postgres.Config{URL: withSettings(t, []string{`default_transaction_read_only = on`})})
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "default_transaction_read_only") {
			t.Errorf("open: %v", err)
		}
	})
	t.Run("without triggers", func(t *testing.T) {
		t.Parallel()
		_, err := postgres.Open(t.Context(), postgres.Config{URL: withSettings(t, []string{`session_replication_role = 'replica'`})})
		if err == nil || !strings.Contains(err.Error(), "session_replication_role") {
			t.Errorf("open: %v", err)
		}
	})
}

// Whatever way of executing statements the URL asks for, settings do no harm, and through a
// pooler calls at once have nothing to do with one another.
func TestWaysOfExecutingStatements(t *testing.T) {
	t.Parallel()
	database := withSettings(t, harmless)
	for name, through := range map[string]func(t *testing.T) string{
		"directly": func(*testing.T) string { return database },
		"through a pooler": func(t *testing.T) string {
			return storetest.PgBouncer(t, database, "pool_mode = transaction", "default_pool_size = 2")
		},
	} {
		for _, way := range []string{
			"default_query_exec_mode=cache_statement", "default_query_exec_mode=cache_describe", "default_query_exec_mode=describe_exec",
			"default_query_exec_mode=exec", "default_query_exec_mode=simple_protocol", "statement_cache_capacity=0&description_cache_capacity=0",
		} {
			t.Run(way+" "+name, func(t *testing.T) {
				t.Parallel()
				s := open(t, through(t)+"&"+way)
				checkUsers(t, s)
				var group errgroup.Group
				for caller := range 4 {
					group.Go(func() error { return everydayWork(t, s, caller) })
				}
				if err := group.Wait(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Statements, locks and idle transactions have limits, or lower ones of the operator's.
func TestLimitsOfASession(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ settings, want []string }{
		"where nobody has set any": {nil, []string{"2s", "15s", "3s"}},
		"where they are higher":    {[]string{`lock_timeout = '1h'`, `statement_timeout = '1d'`, `idle_in_transaction_session_timeout = 3001`}, []string{"2s", "15s", "3s"}},
		"where they are lower":     {[]string{`lock_timeout = 1`, `statement_timeout = '14s'`, `idle_in_transaction_session_timeout = 2999`}, []string{"1ms", "14s", "2999ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := withSettings(t, test.settings)
			direct := connect(t, url)
			if err := postgres.PrepareConn(t.Context(), direct); err != nil {
				t.Fatal(err)
			}
			wantLimits(t, direct, test.want)
			pooled := begin(t, connect(t, url))
			run(t, pooled, `commit`)
			run(t, pooled, postgres.BeginLimitedSQL)
			wantLimits(t, pooled, test.want)
		})
	}
}

func wantLimits(t *testing.T, on interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, want []string,
) {
	t.Helper()
	var got [3]string
	err := on.QueryRow(t.Context(), `select current_setting('lock_timeout'), current_setting('statement_timeout'),
		current_setting('idle_in_transaction_session_timeout')`).Scan(&got[0], &got[1], &got[2])
	if err != nil || !slices.Equal(got[:], want) {
		t.Errorf("limits are %q, error %v, want %q", got, err, want)
	}
}

// A call that waits for a lock ends before its caller has lost patience, through a pooler
// too where it is a transaction.
func TestNoCallWaitsForALockForLong(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t, migrate)
	direct, pooled := open(t, url), open(t, storetest.PgBouncer(t, url, readmePgBouncer(t)...))
	user := mustCreate(t, direct)
	row := begin(t, connect(t, url))
	touchUser(t, row, user.ID)
	_, updateErr := direct.Update(t.Context(), store.Update{ID: user.ID, AddRoles: []string{"admin"}})
	_, manyErr := pooled.UpdateMany(t.Context(), []store.Update{{ID: user.ID, AddRoles: []string{"admin"}}})
	for call, err := range map[string]error{"Update": updateErr, "UpdateMany through PgBouncer": manyErr} {
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s of a user who is locked: %v", call, err)
		}
	}
	run(t, row, `lock table users in access exclusive mode`)
	if _, err := direct.Get(t.Context(), user.ID); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrConflict) {
		t.Errorf("get from a table that is locked: %v", err)
	}
}

// withSettings returns the URL of a database with the schema and settings.
func withSettings(t *testing.T, settings []string) string {
	t.Helper()
	url := storetest.Postgres(t, migrate)
	conn := connect(t, url)
	for _, setting := range settings {
		if name, _, _ := strings.Cut(setting, " "); known(t, conn, name) {
			run(t, conn, `alter database `+conn.Config().Database+` set `+setting)
		}
	}
	return url
}

// known reports whether this version of PostgreSQL has a setting.
func known(t *testing.T, conn *pgx.Conn, setting string) (known bool) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `select strpos($1, '.') > 0 or current_setting($1, true) is not null`, setting).Scan(&known)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// newDatabase makes a database beside the one at an URL, with options of create
// database.
func newDatabase(t *testing.T, beside, options string) string {
	t.Helper()
	conn := connect(t, beside)
	name := conn.Config().Database + "_other"
	run(t, conn, `create database `+name+` template template0 `+options)
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), `drop database `+name+` with (force)`); err != nil {
			t.Error(err)
		}
	})
	parsed, err := url.Parse(beside)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Path = "/" + name
	return parsed.String()
}

func TestOtherEncodingsAreRefused(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"LATIN1", "EUC_JP", "SQL_ASCII"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t, storetest.Postgres(t, migrate), `locale 'C' encoding '`+encoding+`'`)
			config := postgres.Config{URL: url}
			_, openErr := postgres.Open(t.Context(), config)
			_, migrateErr := postgres.Migrate(t.Context(), config)
			_, statusErr := postgres.Status(t.Context(), config)
			for call, err := range map[string]error{"open": openErr, "migrate": migrateErr, "status": statusErr} {
				if err == nil || !strings.Contains(err.Error(), encoding) || !strings.Contains(err.Error(), "encoding 'UTF8'") {
					t.Errorf("%s: %v", call, err)
				}
			}
		})
	}
}

// Letters are folded and ordered by rules of our own, whatever the language of the
// database.
func TestOtherLocales(t *testing.T) {
	t.Parallel()
	url := newDatabase(t, storetest.Postgres(t, migrate), `encoding 'UTF8' locale_provider icu icu_locale 'tr-TR' locale 'C.UTF-8'`)
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	checkUsers(t, open(t, url))
}
