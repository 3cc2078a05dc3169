package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// These helpers write with SQL of their own, as a program beside userd could.

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func begin(t testing.TB, conn *pgx.Conn) pgx.Tx {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func run(t testing.TB, on execer, sql string, args ...any) {
	t.Helper()
	if _, err := on.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

const (
	insertUserSQL = `
		with created as (
			insert into users (id, email, display_name, folded_name, created_at, updated_at, version)
			values ($1, $2, 'Raw', 'raw', now(), now(), 1) returning id
		)
		insert into changes (user_id, version, kind, at) select id, 1, 'upserted', now() from created`

	touchUserSQL = `
		with changed as (
			update users set version = version + 1, updated_at = now() where id = $1 returning id, version
		)
		insert into changes (user_id, version, kind, at) select id, version, 'upserted', now() from changed`

	conflictAtCommitSQL = `
		create function conflict() returns trigger language plpgsql as $$
		begin raise exception using errcode = 'serialization_failure'; end $$;
		create constraint trigger conflict after insert on users deferrable initially deferred
			for each row execute function conflict()`

	breakAtCommitSQL = `
		create function break() returns trigger language plpgsql as $$
		begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
		create constraint trigger break after insert on users deferrable initially deferred
			for each row execute function break()`

	terminateOthersSQL = `select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid()`
)

func insertUser(t testing.TB, on execer, id, email string) {
	t.Helper()
	run(t, on, insertUserSQL, id, email)
}

func touchUser(t testing.TB, on execer, id string) {
	t.Helper()
	run(t, on, touchUserSQL, id)
}

// patiently calls again where a call has given up a lock: on a busy machine a test may take
// longer than calls wait for one.
func patiently[T any](call func() (T, error)) (T, error) {
	for {
		if value, err := call(); !gaveUp(err) {
			return value, err
		}
	}
}

// gaveUp reports whether a call has waited for a lock for as long as calls do.
func gaveUp(err error) bool {
	pgErr := new(pgconn.PgError)
	return errors.As(err, &pgErr) && pgErr.Code == "55P03"
}

// awaitBlocked returns when a session of the database waits for a lock.
func awaitBlocked(t testing.TB, url string) {
	t.Helper()
	conn := connect(t, url)
	await(t, func() bool { return sessions(t, conn, `wait_event_type = 'Lock'`) > 0 })
}

// sessions counts the sessions of the database for which a condition holds.
func sessions(t testing.TB, conn *pgx.Conn, condition string) (n int) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid() and `+condition).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
