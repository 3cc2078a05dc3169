package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// readAll reads the changes after a cursor to the end, in batches of limit.
func readAll(t testing.TB, s store.Store, from store.Cursor, limit int) ([]store.Change, store.Cursor) {
	t.Helper()
	var all []store.Change
	for {
		changes, next, err := s.Changes(t.Context(), from, limit)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Covers(next, from) && from != store.Earliest {
			t.Fatalf("%s does not cover %s", next, from)
		}
		if len(changes) == 0 {
			return all, next
		}
		if len(changes) > limit {
			t.Fatalf("%d changes, limit %d", len(changes), limit)
		}
		all, from = append(all, changes...), next
	}
}

func mustHead(t testing.TB, s store.Store) store.Cursor {
	t.Helper()
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// names lists changes as "number of the user:version".
func names(changes []store.Change, users ...string) string {
	var text []string
	for _, change := range changes {
		text = append(text, fmt.Sprintf("%d:%d", slices.Index(users, change.UserID), change.Version))
	}
	return strings.Join(text, " ")
}

// The transactions with the lower ids commit the later versions: the order of
// transaction ids is not the order of versions.
func TestVersionsAreInOrderWhenTransactionIDsAreNot(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user := mustCreate(t, s)
	from := mustHead(t, s)

	first, second := begin(t, connect(t, url)), begin(t, connect(t, url))
	run(t, first, `select pg_current_xact_id()`)
	run(t, second, `select pg_current_xact_id()`)
	touchUser(t, connect(t, url), user.ID)
	touchUser(t, second, user.ID)
	if err := second.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	touchUser(t, first, user.ID)
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for limit := 1; limit <= 4; limit++ {
		changes, _ := readAll(t, s, from, limit)
		if got := names(changes, user.ID); got != "0:2 0:3 0:4" {
			t.Errorf("with limit %d the changes are %s", limit, got)
		}
	}
}

// A transaction that was open when a cursor was made is read when it commits, once,
// though changes with higher numbers have been read before.
func TestChangesOfALongTransactionAreNotLost(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user := mustCreate(t, s)
	long := begin(t, connect(t, url))
	touchUser(t, long, user.ID)

	others := []string{mustCreate(t, s).ID, mustCreate(t, s).ID, mustCreate(t, s).ID}
	ids := append([]string{user.ID}, others...)
	changes, between := readAll(t, s, store.Earliest, 2)
	if got := names(changes, ids...); got != "0:1 1:1 2:1 3:1" {
		t.Fatalf("before the commit the changes are %s", got)
	}
	if err := long.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if changes, _ = readAll(t, s, between, 2); names(changes, ids...) != "0:2" {
		t.Fatalf("after the commit the changes are %s", names(changes, ids...))
	}
}

// What is committed while a backlog is read in batches comes after the backlog,
// whatever its number.
func TestABacklogIsReadInBatchesWithoutLossOrRepetition(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	var ids []string
	for range 3 {
		ids = append(ids, mustCreate(t, s).ID)
	}
	long := begin(t, connect(t, url))
	touchUser(t, long, ids[0])
	for range 3 {
		ids = append(ids, mustCreate(t, s).ID)
	}
	first, cursor, err := s.Changes(t.Context(), store.Earliest, 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := long.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids = append(ids, mustCreate(t, s).ID)
	rest, _ := readAll(t, s, cursor, 4)
	if got := names(append(first, rest...), ids...); got != "0:1 1:1 2:1 3:1 4:1 5:1 0:2 6:1" {
		t.Fatalf("the changes are %s", got)
	}
}

// The log of a busy week has many millions of rows, of which a page needs a few.
func TestAPageOfALongLogIsReadByIndexAlone(t *testing.T) {
	t.Parallel()
	_, url := openNew(t)
	conn := connect(t, url)
	run(t, conn, `insert into changes (user_id, version, kind, at)
		select gen_random_uuid(), 1, 'upserted', now() from generate_series(1, 200000)`)
	running := begin(t, connect(t, url))
	run(t, running, `select pg_current_xact_id()`)
	run(t, conn, `set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_index_scan_size = 0; set jit_above_cost = 0`)
	if err := postgres.PrepareConn(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	run(t, conn, `prepare page (pg_snapshot, int) as `+postgres.FirstPageSQL)
	explain := func() string {
		t.Helper()
		var snapshot string
		if err := conn.QueryRow(t.Context(), `select pg_current_snapshot()`).Scan(&snapshot); err != nil {
			t.Fatal(err)
		}
		rows, err := conn.Query(t.Context(), `explain execute page ('`+snapshot+`', 1000)`)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		run(t, conn, `set plan_cache_mode = `+mode)
		for _, when := range []string{"at first", "after analyze"} {
			plan := explain()
			for _, costly := range []string{"Seq Scan on changes", "Gather", "JIT"} {
				if strings.Contains(plan, costly) {
					t.Errorf("%s, %s: the plan has %q:\n%s", mode, when, costly, plan)
				}
			}
			run(t, conn, `analyze changes`)
		}
	}
}

// Servers have clocks of their own.
func TestAtFindsAllSinceATimeThoughTheLogIsNotInItsOrder(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	log, user := connect(t, url), mustCreate(t, s)
	noon := user.CreatedAt.Add(-24 * time.Hour)
	at := func(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }
	const last = 240
	for minute := range last + 1 {
		late := minute * 7 % 5
		run(t, log, `insert into changes (user_id, version, kind, at) values ($1, $2, 'upserted', $3)`, user.ID, minute, at(minute-late))
	}
	for minute := -20; minute < last+20; minute += 13 {
		cursor, err := s.At(t.Context(), at(minute))
		if err != nil {
			t.Fatal(err)
		}
		changes, _ := readAll(t, s, cursor, 100)
		found := make(map[int64]bool)
		for _, change := range changes {
			found[change.Version] = true
			if change.At.Before(at(minute - 15)) {
				t.Fatalf("changes since minute %d have one of %s", minute, change.At)
			}
		}
		for version := range last + 1 {
			if made := version - version*7%5; made >= minute && !found[int64(version)] {
				t.Fatalf("changes since minute %d have none of minute %d", minute, made)
			}
		}
	}
}

// A server whose clock was wrong has written the oldest rows.
func TestPruningGoesPastRowsThatAreNotOld(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	log, user := connect(t, url), mustCreate(t, s)
	insert := `insert into changes (user_id, version, kind, at)
		select $1, 1, 'upserted', now() + $2 * interval '1 day' from generate_series(1, $3)`
	const fast, old = 1_500, 2_500
	run(t, log, insert, user.ID, 365, fast)
	run(t, log, insert, user.ID, -10, old)
	run(t, log, insert, user.ID, -1, 10_000)
	if n, err := s.Prune(t.Context(), time.Now().Add(-7*24*time.Hour)); n != old || err != nil {
		t.Errorf("pruned %d, %v; %d are old", n, err, old)
	}
}

func TestPruningInsideABacklogExpiresTheCursor(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	var users []store.User
	for range 6 {
		users = append(users, mustCreate(t, s))
	}
	start, err := s.At(t.Context(), users[0].CreatedAt)
	if err != nil {
		t.Fatal(err)
	}
	prune := func(before time.Time) {
		t.Helper()
		if _, err := s.Prune(t.Context(), before); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []store.Cursor{start, store.Earliest} {
		_, cursor, err := s.Changes(t.Context(), from, 2)
		if err != nil {
			t.Fatal(err)
		}
		prune(users[2].CreatedAt)
		if rest, _ := readAll(t, s, cursor, 2); len(rest) != 4 && from == start {
			t.Errorf("after pruning what was read there are %d changes", len(rest))
		}
		if from == start {
			continue
		}
		prune(users[5].CreatedAt)
		if _, _, err := s.Changes(t.Context(), cursor, 2); !errors.Is(err, store.ErrCursorExpired) {
			t.Errorf("after pruning what was not read: %v", err)
		}
	}
	if changes, _ := readAll(t, s, store.Earliest, 2); len(changes) != 1 {
		t.Errorf("the earliest changes are %v", changes)
	}
	if _, _, err := s.Changes(t.Context(), start, 2); !errors.Is(err, store.ErrCursorExpired) {
		t.Errorf("changes after a pruned cursor: %v", err)
	}
}

// Times are not in the order of seq: rows that were pruned before a backlog is read
// may have higher numbers than rows that are left.
func TestWhatWasPrunedBeforeIsNotMissedInABacklog(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user := mustCreate(t, s)
	head := mustHead(t, s)
	prune := func() {
		t.Helper()
		if n, err := s.Prune(t.Context(), user.CreatedAt.Add(time.Minute)); n != 2 || err != nil {
			t.Fatalf("pruned %d, %v", n, err)
		}
	}
	log := connect(t, url)
	insert := `insert into changes (user_id, version, kind, at)
		select $1, version, 'upserted', now() + at * interval '3 minutes' from unnest($2::int[], $3::int[]) as rows (version, at)`

	run(t, log, insert, user.ID, []int{2, 3, 4}, []int{1, 0, 1})
	prune() // 1 and 3
	if changes, _ := readAll(t, s, store.Earliest, 1); names(changes, user.ID) != "0:2 0:4" {
		t.Errorf("the earliest changes are %s", names(changes, user.ID))
	}
	if _, _, err := s.Changes(t.Context(), head, 1); !errors.Is(err, store.ErrCursorExpired) {
		t.Errorf("changes after a cursor before those pruned: %v", err)
	}

	run(t, log, insert, user.ID, []int{5, 6, 7}, []int{0, 1, 0})
	_, inside, err := s.Changes(t.Context(), store.Earliest, 1)
	if err != nil {
		t.Fatal(err)
	}
	prune() // 5 and 7, before they are read
	if _, _, err := s.Changes(t.Context(), inside, 1); !errors.Is(err, store.ErrCursorExpired) {
		t.Errorf("changes after a cursor inside what was pruned: %v", err)
	}
}

// A crash forgets the ids of transactions that were not flushed and gives them out
// again. A cursor that was made before must not count them as read.
func TestTransactionIDsThatACrashGivesOutAgainAreRead(t *testing.T) {
	t.Parallel()
	server := storetest.NewServer(t, "wal_level=minimal", "max_wal_senders=0", "wal_writer_delay=10s", "autovacuum=off")
	url := server.URL("postgres")
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	s := open(t, url)
	mustCreate(t, s)
	for forgotten := false; !forgotten; { // Now and then they are flushed in time.
		conn := connect(t, url)
		for range 50 {
			tx := begin(t, conn)
			insertUser(t, tx, newUser().ID, newUser().Email)
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		before := nextTransaction(t, conn)
		head := mustHead(t, s)
		server.Kill(t)
		server.Start(t)
		forgotten = nextTransaction(t, connect(t, url)) < before
		user := mustCreate(t, s)
		if changes, _ := readAll(t, s, head, 10); names(changes, user.ID) != "0:1" {
			t.Fatalf("changes after the crash are %v", changes)
		}
	}
}

func nextTransaction(t testing.TB, conn *pgx.Conn) (id uint64) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `select pg_snapshot_xmax(pg_current_snapshot())`).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestWaitEndsAtACommitOfAnotherProcess(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	conn := connect(t, url)
	for range 5 {
		_, from := readAll(t, s, store.Earliest, 100)
		waited := make(chan error, 1)
		go func() {
			for {
				err := s.Wait(t.Context(), from)
				if err != nil || !s.Covers(from, mustHead(t, s)) {
					waited <- err
					return
				}
			}
		}()
		insertUser(t, conn, newUser().ID, newUser().Email)
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
	}
}

func TestAServerThatStartsTenDaysAheadKeepsTheLog(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	head := mustHead(t, s)
	first := mustCreate(t, s)
	for range 2 { // The second one finds changes of the first in the log.
		ahead, err := postgres.Open(t.Context(), postgres.Config{
			URL: url, Now: func() time.Time { return time.Now().AddDate(0, 0, 10) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer ahead.Close()
		pruner := store.Pruner{Store: ahead, Retention: 7 * 24 * time.Hour}
		for range 2 {
			if removed, err := pruner.Prune(t.Context()); removed != 0 || err != nil {
				t.Fatalf("removed %d, %v", removed, err)
			}
			mustCreate(t, ahead)
		}
	}
	if changes, _ := readAll(t, s, head, 10); len(changes) != 5 || changes[0].UserID != first.ID {
		t.Fatalf("changes are %v", changes)
	}
}
