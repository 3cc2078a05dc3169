package postgres

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// setting is a setting of a session that a role, a database or a server may have set
// to something with which our statements do not do what they should.
type setting struct {
	name, want string
	bad        string // The only value that does harm; all but want do where it is empty.
	fixed      bool   // Only a superuser may set it, so we do not.
	relied     bool   // Statements rely on it. Others only wish for it.
	most       bool   // It is a time in ms. Less than want does no harm; 0 is without end, and does.
}

// settings are those that we set in every session. The rest does no harm, which
// TestSettingsOfARole shows: our statements move values in binary form, name what
// they order by a collation of their own, and are complete in themselves.
var settings = []setting{
	{name: "default_transaction_isolation", want: "read committed", relied: true},
	{name: "synchronous_commit", want: "on", bad: "off", relied: true},            // Else what is acknowledged may be lost.
	{name: "gin_fuzzy_search_limit", want: "0", relied: true},                     // Else some users with a role are not found.
	{name: "exit_on_error", want: "off", relied: true},                            // Else an email that is taken ends the session.
	{name: "session_replication_role", want: "origin", relied: true, fixed: true}, // Else deleted ids can be used again.
	{name: "idle_session_timeout", want: "0"},
	{name: "row_security", want: "off"}, // Else a policy made meanwhile hides users from us, and nobody notices.
	// Our statements find a few rows by an index. A cautious estimate about a large table
	// would add parallel workers or compiled code, which take longer to make than such
	// a statement to run.
	{name: "max_parallel_workers_per_gather", want: "0"},
	{name: "jit", want: "off"},
	// What waits longer than this holds a connection, or locks, that others need.
	{name: "lock_timeout", want: "2000", most: true},
	{name: "statement_timeout", want: "15000", most: true},
	{name: "idle_in_transaction_session_timeout", want: "3000", most: true}, // Its server is frozen or cut off.
}

// beginLimitedSQL begins a transaction that has the limits of settings, with a session
// that has not: that of a pooler.
var beginLimitedSQL = func() string {
	var rows []string
	for _, s := range settings {
		if s.most {
			rows = append(rows, fmt.Sprintf("('%s', '%s')", s.name, s.want))
		}
	}
	return `begin; select set_config(name, want, true) from (values ` + strings.Join(rows, ", ") + `) as limits (name, want)
		where current_setting(name)::interval not between '1 ms' and (want || ' ms')::interval`
}()

// withoutLimitSQL takes the limit off the statements of a transaction, where it is ours.
const withoutLimitSQL = `select set_config('statement_timeout', '0', true) where current_setting('statement_timeout') = '15s'`

// pathSQL has a session that is one with the server process $1 look for everything in
// the schema with our tables, or the one where they are to be made, after pg_catalog.
// What others have put into further schemas, with names of ours or of PostgreSQL's
// functions and operators, is then not found. It returns false where there is such a
// schema, and a pooler, with which we cannot set the path, and null where there is no
// schema at all. It relies on no path itself.
var pathSQL = `
	select case
		when schema is null then null
		when pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) $1::pg_catalog.int8
			then pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', schema), false) is not null
		else pg_catalog.current_schemas(false) OPERATOR(pg_catalog.=) array[schema]
			or pg_catalog.current_schemas(false) OPERATOR(pg_catalog.=) array['pg_catalog', schema]
		end
	from (select coalesce(` + schemaOf("userd_migrations") + `, ` + schemaOf("users") + `, (
		select name from pg_catalog.unnest(pg_catalog.current_schemas(false)) with ordinality as path (name, place)
		where name OPERATOR(pg_catalog.<>) 'pg_catalog' order by place limit 1
	)) as schema) as ours`

// schemaOf is an SQL expression: where the path finds a table, or null.
func schemaOf(table string) string {
	return `(select nspname from pg_catalog.pg_class join pg_catalog.pg_namespace
		on pg_namespace.oid OPERATOR(pg_catalog.=) relnamespace
		where pg_class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('` + table + `'))`
}

// sessionSQL sets the settings if the session is one with the server process $1, and
// says with which process it is and which settings that we rely on are wrong.
var sessionSQL = func() string {
	rows := make([]string, len(settings))
	for i, s := range settings {
		rows[i] = fmt.Sprintf("('%s', '%s', '%s', %t, %t, %t)", s.name, s.want, s.bad, s.relied, s.fixed, s.most)
	}
	return `
		select pg_backend_pid(), coalesce(string_agg(name || ' = ' || setting, ', ') filter (where relied and made is null), '')
		from (
			select name, setting, relied, case when pg_backend_pid() = $1::bigint and not fixed then set_config(name, want, false) end as made
			from (values ` + strings.Join(rows, ", ") + `) as wanted (name, want, bad, relied, fixed, most)
				join pg_catalog.pg_settings using (name)
			where case when most then setting::bigint not between 1 and want::bigint else setting <> want and bad in ('', setting) end
		) as wrong`
}()

// refusal is why a database cannot be used as it is set up, in words that say what to
// do.
type refusal string

func (r refusal) Error() string { return string(r) }

// poolerError: there is a connection pooler between us and the database, and the
// connection would prepare statements, which the next transaction, on another
// connection of the pooler's, would not find.
type poolerError struct{}

func (poolerError) Error() string { return "a connection pooler was not expected" }

// SafeToRetry is for pgconn: nothing was sent.
func (poolerError) SafeToRetry() bool { return true }

// sessions makes new connections fit for our statements.
//
// A pooler such as PgBouncer gives every transaction another connection to the
// server. It gives itself away by the number of the server's process, which it
// makes up. What a session keeps is no use with one: statements are not prepared,
// nothing is set, notifications do not arrive.
type sessions struct {
	pooled atomic.Bool // There has been a pooler.
}

// keptDescriptions is how many statements a connection knows the types of, where the URL
// says none.
const keptDescriptions = 512

// beforeConnect gives a connection a way of executing statements: one of the two that move
// values in binary form and rely on nothing that another session of a pooler's may have
// left, whatever the URL asks for. The form of text is for settings to say.
func (s *sessions) beforeConnect(_ context.Context, config *pgx.ConnConfig) error {
	if s.pooled.Load() || config.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement || config.StatementCacheCapacity <= 0 {
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	if config.DescriptionCacheCapacity <= 0 {
		config.DescriptionCacheCapacity = keptDescriptions
	}
	return nil
}

// afterConnect checks a new connection and makes its settings.
func (s *sessions) afterConnect(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(conn.Config().ConnectTimeout, connectTimeout))
	defer cancel()
	if encoding := conn.PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
		return refusal(fmt.Sprintf("the database has encoding %s, in which not every name can be kept: "+
			"userd needs one made with `create database NAME encoding 'UTF8' template template0`", encoding))
	}
	if err := pinPath(ctx, conn); err != nil {
		return err
	}
	var process uint32
	var wrong string
	err := conn.QueryRow(ctx, sessionSQL, pgx.QueryExecModeExec, int64(conn.PgConn().PID())).Scan(&process, &wrong)
	if err != nil {
		return err
	}
	pooled := process != conn.PgConn().PID()
	if pooled {
		s.pooled.Store(true)
	}
	switch {
	case pooled && conn.Config().DefaultQueryExecMode == pgx.QueryExecModeCacheStatement:
		return poolerError{}
	case wrong != "":
		return unfit(wrong)
	case pooled:
		return allowsTransactions(ctx, conn)
	}
	return nil
}

// pinPath makes sure that the session finds what our statements mean.
func pinPath(ctx context.Context, conn *pgx.Conn) error {
	var safe *bool
	switch err := conn.QueryRow(ctx, pathSQL, pgx.QueryExecModeExec, int64(conn.PgConn().PID())).Scan(&safe); {
	case err != nil:
		return err
	case safe == nil:
		return refusal("the search_path names no schema that is there and that the role may use: make one with `create schema`, " +
			"or `grant usage on schema NAME` to the role, or change search_path with `alter role` or `alter database`")
	case !*safe:
		return unfit("a search_path with other schemas than userd's own")
	}
	return nil
}

// unfit refuses a session for its settings.
func unfit(settings string) error {
	return refusal("the session has " + settings + ", which userd cannot work with and cannot change itself, " +
		"for lack of rights or for a connection pooler: change it with `alter role` or `alter database`")
}

// allowsTransactions checks that a pooler gives a transaction one connection.
func allowsTransactions(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err == nil {
		return tx.Rollback(ctx)
	}
	if hasCode(err, protocolViolation) {
		return refusal("the connection pooler takes no transactions: set pool_mode = transaction (or session)")
	}
	return err
}
