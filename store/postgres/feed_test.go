package postgres_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// The follower is this test program, started anew with these variables: it follows
// the feed of a database and appends every batch with its cursor to a file.
const (
	followerEnv = "USERD_TEST_FOLLOW"
	fileEnv     = "USERD_TEST_FOLLOW_FILE"
)

// batch is a line of a follower's file.
type batch struct {
	Changes []store.Change
	Cursor  store.Cursor
}

// follow is the follower's main function. It goes on where the file ends.
func follow() int {
	if err := followFile(context.Background(), os.Getenv(followerEnv), os.Getenv(fileEnv)); err != nil {
		fmt.Fprintln(os.Stderr, "follow:", err)
		return 1
	}
	return 0
}

func followFile(ctx context.Context, url, name string) error {
	batches, err := readBatches(name)
	if err != nil {
		return err
	}
	cursor := store.Earliest
	if len(batches) > 0 {
		cursor = batches[len(batches)-1].Cursor
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	s, err := postgres.Open(ctx, postgres.Config{URL: url})
	if err != nil {
		return err
	}
	for {
		changes, next, err := s.Changes(ctx, cursor, 500)
		if err == nil && len(changes) > 0 {
			line, _ := json.Marshal(batch{changes, next})
			if _, err := file.Write(append(line, '\n')); err != nil {
				return err
			}
		}
		if err == nil {
			cursor = next
		}
		if err == nil && len(changes) == 0 {
			err = s.Wait(ctx, cursor)
		}
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			return err
		}
	}
}

// readBatches reads the whole lines of a file and cuts off a torn last one.
func readBatches(name string) ([]batch, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	whole := content[:bytes.LastIndexByte(content, '\n')+1]
	if err := os.Truncate(name, int64(len(whole))); err != nil {
		return nil, err
	}
	var batches []batch
	for line := range bytes.Lines(whole) {
		var b batch
		if err := json.Unmarshal(line, &b); err != nil {
			return nil, err
		}
		batches = append(batches, b)
	}
	return batches, nil
}

func startFollower(t *testing.T, url, name string) *exec.Cmd {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), followerEnv+"="+url, fileEnv+"="+name)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	return command
}

var feedChanges = flag.Int64("feed-changes", 20_000, "how many changes TestFeedLosesNothing writes")

// TestFeedLosesNothing writes many changes with 32 writers, holds transactions
// open, and kills the reader and PostgreSQL in the middle. What the reader has
// written to its file must be the change log: each change once, and the versions of
// each user in order.
func TestFeedLosesNothing(t *testing.T) {
	const writers, holders = 32, 4
	total := *feedChanges
	server := storetest.NewServer(t, "max_connections=200", "shared_buffers=256MB")
	url := server.URL("postgres")
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	s := open(t, url+"&pool_max_conns=32")
	file := filepath.Join(t.TempDir(), "feed")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	follower := startFollower(t, url, file)

	l := &load{store: s, url: url, acknowledged: make(map[string]int64)}
	started := time.Now()
	var group errgroup.Group
	for range writers {
		group.Go(func() error { return l.write(t.Context(), total) })
	}
	for range holders {
		group.Go(func() error { return l.hold(t.Context(), total) })
	}
	await(t, func() bool { return l.written.Load() > total/3 })
	follower.Process.Kill()
	follower.Wait()
	read := countRead(t, file)
	startFollower(t, url, file)
	await(t, func() bool { return countRead(t, file) > read }) // It has opened the store, which takes a server.
	await(t, func() bool { return l.written.Load() > total*2/3 })
	server.Kill(t)
	server.Start(t)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d changes in %v", l.written.Load(), time.Since(started))

	logged := readLog(t, url)
	if int64(len(logged)) < total {
		t.Fatalf("the log has %d changes", len(logged))
	}
	await(t, func() bool { return countRead(t, file) >= len(logged) })
	t.Logf("read after %v", time.Since(started))
	checkFeed(t, readFile(t, file), logged)
	l.check(t, logged)
}

// countRead returns how many changes are in a follower's file.
func countRead(t testing.TB, file string) int {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(content, []byte(`"UserID"`))
}

// readFile returns the changes in the file of a follower that has read all.
func readFile(t testing.TB, file string) (changes []store.Change) {
	t.Helper()
	batches, err := readBatches(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		changes = append(changes, b.Changes...)
	}
	return changes
}

// readLog returns the change log, by the table itself, in the order of versions of
// each user.
func readLog(t testing.TB, url string) []store.Change {
	t.Helper()
	rows, err := connect(t, url).Query(t.Context(), `
		select user_id::text, version, case kind when 'upserted' then 1 else 2 end, at from changes order by user_id, version`)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (change store.Change, err error) {
		err = row.Scan(&change.UserID, &change.Version, &change.Kind, &change.At)
		change.At = change.At.UTC()
		return change, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// checkFeed checks that read is the log, with the versions of each user in order.
func checkFeed(t testing.TB, read, logged []store.Change) {
	t.Helper()
	byUser := make(map[string][]store.Change)
	for _, change := range read {
		byUser[change.UserID] = append(byUser[change.UserID], change)
	}
	var sorted []store.Change
	for _, id := range slices.Sorted(maps.Keys(byUser)) {
		sorted = append(sorted, byUser[id]...)
	}
	if len(sorted) != len(logged) {
		t.Errorf("%d changes were read of %d", len(sorted), len(logged))
	}
	for i := range min(len(sorted), len(logged)) {
		if sorted[i] != logged[i] {
			t.Fatalf("read %+v, the log has %+v", sorted[i], logged[i])
		}
	}
}

func TestDelivery(t *testing.T) {
	writer, url := openNew(t)
	storetest.Delivery(t, writer, open(t, url))
}

// await returns when condition holds; it looks every 10 ms.
func await(t testing.TB, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}
