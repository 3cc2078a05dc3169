package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
	"github.com/example/userd/store/storetest/transcript"
)

// A caller whose deadline passes learns no more than that; the log learns what it has
// waited for, once.
func TestTheLogNamesTheCauseOfADeadline(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t, migrate)
	log := new(transcript.Log)
	s, err := postgres.Open(t.Context(), postgres.Config{URL: url, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	user := mustCreate(t, s)
	hold := begin(t, connect(t, url))
	touchUser(t, hold, user.ID)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := s.Update(ctx, store.Update{ID: user.ID, AddRoles: []string{"admin"}})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("update: %v", err)
		}
	}
	if n := strings.Count(log.String(), "look for locks"); n != 1 {
		t.Errorf("the log names the lock %d times:\n%s", n, log)
	}
	if err := hold.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// openAsUserd opens a store on a server of its own, whose role userd has a password. admin is
// connected as another one.
func openAsUserd(t *testing.T, password string) (s *postgres.Store, admin *pgx.Conn, log *transcript.Log) {
	t.Helper()
	server := storetest.NewServer(t, "fsync=off")
	admin = connect(t, server.URL("postgres"))
	address := server.Login(t, "postgres", "userd", password)
	if err := migrate(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	log = new(transcript.Log)
	s, err := postgres.Open(t.Context(), postgres.Config{URL: address, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, admin, log
}

func TestTheLogNamesTheCauseOfAnOutage(t *testing.T) {
	t.Parallel()
	s, admin, log := openAsUserd(t, "first-secret")
	s.StopReaping() // When reads fail as well, the log tells of their end besides.
	outage := func(begin, end, advice string) {
		t.Helper()
		run(t, admin, begin)
		run(t, admin, `select pg_terminate_backend(pid, 60000) from pg_stat_activity where usename = 'userd'`)
		for range 20 {
			if _, err := s.Create(t.Context(), newUser()); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("create after %s: %v", begin, err)
			}
		}
		if n := strings.Count(log.String(), advice); n != 1 {
			t.Errorf("%s: the log says %d times %q:\n%s", begin, n, advice, log)
		}
		before := strings.Count(log.String(), "answers again")
		run(t, admin, end)
		await(t, func() bool { return s.Ping(t.Context()) == nil })
		mustCreate(t, s)
		if n := strings.Count(log.String(), "answers again"); n != before+1 {
			t.Errorf("%s: the log says %d times that it answers again:\n%s", end, n-before, log)
		}
	}
	outage(`alter role userd password 'second-secret'`, `alter role userd password 'first-secret'`, "does not take the role or its password")
	outage(`alter role userd nosuperuser; alter table users owner to postgres`, `alter role userd superuser`, "the role lacks a right")
	outage(`alter role userd connection limit 0; alter role userd nosuperuser`, `alter role userd connection limit -1 superuser`, "raise max_connections")
	outage(`alter role userd set default_transaction_read_only = on`, `alter role userd reset default_transaction_read_only`, "takes no writes")
	outage(`alter role userd set statement_timeout = 1; create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(1); return new; end'; create trigger slow before insert on users for each row execute function slow()`,
		`alter role userd reset statement_timeout; drop trigger slow on users; select pg_terminate_backend(pid, 60000) from pg_stat_activity where usename = 'userd'`, "a statement took too long")
	if strings.Contains(log.String(), "secret") {
		t.Errorf("the log has a password:\n%s", log)
	}
}

// The pool cuts off a session that is being set up when it is closed, and calls that
// canceled what the caller did not.
func TestCallsThatWaitForASessionAtClose(t *testing.T) {
	t.Parallel()
	const namespaces = 2615 // The oid of pg_namespace, where a new session looks for our schema.
	url := storetest.Postgres(t, migrate)
	s := open(t, url)
	user := mustCreate(t, s)
	row, catalog, watch := begin(t, connect(t, url)), begin(t, connect(t, url)), connect(t, url)
	touchUser(t, row, user.ID)
	updated := make(chan error, 1)
	var closing atomic.Bool
	go func() { // Has the only session for as long as the row is locked.
		err := error(nil)
		for again := true; again; again = gaveUp(err) && !closing.Load() {
			_, err = s.Update(t.Context(), store.Update{ID: user.ID, AddRoles: []string{"admin"}})
		}
		updated <- err
	}()
	awaitBlocked(t, url)
	newSession := func() (waits bool) {
		if err := watch.QueryRow(t.Context(), `select exists (select from pg_locks where relation = $1 and not granted)`, namespaces).Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits
	}
	newSession() // Learns the names that it needs.
	run(t, catalog, `lock table pg_namespace in access exclusive mode`)
	read := make(chan error, 1)
	go func() {
		_, err := s.Get(t.Context(), user.ID)
		read <- err
	}()
	await(t, newSession)
	closed := make(chan error, 1)
	closing.Store(true)
	go func() { closed <- s.Close() }()
	if err := <-read; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("get: %v, want %v", err, store.ErrUnavailable)
	}
	for _, tx := range []pgx.Tx{catalog, row} {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-updated; err != nil && !gaveUp(err) {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
