package postgres_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// TestFailover kills a primary under load and promotes its synchronous standby. The
// store that is open all the while answers ErrUnavailable in between and goes on
// with the new primary; what it acknowledged is there, and the feed goes on from the
// cursor it had reached.
func TestFailover(t *testing.T) {
	primary := storetest.NewServer(t)
	if err := migrate(t.Context(), primary.URL("postgres")); err != nil {
		t.Fatal(err)
	}
	standby := primary.NewStandby(t, "standby")
	admin := connect(t, primary.URL("postgres"))
	run(t, admin, `alter system set synchronous_standby_names = 'standby'`)
	run(t, admin, `select pg_reload_conf()`)
	await(t, func() bool { return streamsSynchronously(t, primary) })

	s := open(t, bothHosts(primary, standby))
	l := &load{store: s, acknowledged: make(map[string]int64)}
	const total = 6000
	cursor := mustHead(t, s)
	var group errgroup.Group
	for range 8 {
		group.Go(func() error { return l.write(t.Context(), total) })
	}
	await(t, func() bool { return l.written.Load() > total/2 })
	before, cursor := readAll(t, s, cursor, 500)

	primary.Kill(t)
	for _, write := range []func() error{
		func() error { _, err := s.Create(t.Context(), newUser()); return err },
		func() error { _, err := s.Import(t.Context(), []store.NewUser{newUser()}); return err },
		func() error { return s.Ping(t.Context()) },
	} {
		if err := write(); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("without a primary: %v", err)
		}
	}
	standby.Promote(t)
	promoted := time.Now()
	await(t, func() bool { _, err := s.Create(t.Context(), newUser()); return err == nil })
	t.Logf("writes go on %v after the promotion", time.Since(promoted))
	if took := time.Since(promoted); took > 5*time.Second {
		t.Errorf("writes go on %v after the promotion", took)
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	logged := readLog(t, standby.URL("postgres"))
	l.check(t, logged)
	after, _ := readAll(t, s, cursor, 500)
	checkFeed(t, append(before, after...), logged)
}

func streamsSynchronously(t testing.TB, primary *storetest.Server) (streams bool) {
	t.Helper()
	err := connect(t, primary.URL("postgres")).QueryRow(t.Context(),
		`select exists (select from pg_stat_replication where sync_state = 'sync')`).Scan(&streams)
	if err != nil {
		t.Fatal(err)
	}
	return streams
}

// bothHosts is the URL of whichever of two servers is the primary.
func bothHosts(a, b *storetest.Server) string {
	hosts := url.Values{"host": {a.Host() + "," + b.Host()}, "user": {"postgres"}}
	return "postgres:///postgres?" + hosts.Encode()
}

// TestADemotedPrimaryIsLeft: sessions that a server does not let write any more are
// closed, and new ones are asked whether they can write.
func TestADemotedPrimaryIsLeft(t *testing.T) {
	t.Parallel()
	s, databaseURL := openNew(t)
	name, _, _ := strings.Cut(strings.TrimPrefix(databaseURL, "postgres:///"), "?")
	conn := connect(t, databaseURL)
	run(t, conn, fmt.Sprintf(`alter database %s set default_transaction_read_only = on`, name))
	run(t, conn, terminateOthersSQL)
	if _, err := s.Create(t.Context(), newUser()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("create on a read-only database: %v", err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("ping of a read-only database: %v", err)
	}
	if _, err := postgres.Open(t.Context(), postgres.Config{URL: databaseURL}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("open on a read-only database: %v", err)
	}
	run(t, conn, `set default_transaction_read_only = off`)
	run(t, conn, fmt.Sprintf(`alter database %s reset default_transaction_read_only`, name))
	mustCreate(t, s)
}

func TestReadsSurviveTheLossOfTheirConnections(t *testing.T) {
	t.Parallel()
	s, databaseURL := openNew(t)
	user := mustCreate(t, s)
	conn := connect(t, databaseURL)
	for range 20 {
		run(t, conn, terminateOthersSQL)
		if _, err := s.Get(t.Context(), user.ID); err != nil {
			t.Fatal(err)
		}
	}
}
