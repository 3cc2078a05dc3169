package sqlite

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
	"github.com/example/userd/store/stats"
)

// What is in use and what waits is counted while it is so.
func TestStats(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "userd.db"), Readers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	newUsers := func(n int) []store.NewUser {
		users := make([]store.NewUser, n)
		for i := range users {
			id := uuid.NewString()
			users[i] = store.NewUser{ID: id, Email: id + "@example.com", DisplayName: "Ada"}
		}
		return users
	}
	release := make(chan struct{})
	hold := func(*sqlite.Conn) error { <-release; return nil }
	before := s.Stats().Writer.Groups
	var calls sync.WaitGroup
	begin := func(n int, call func() error) {
		for range n {
			calls.Go(func() {
				if err := call(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	begin(5, func() error { return s.read(t.Context(), hold) })
	held := make(chan struct{})
	begin(1, func() error {
		return s.writer.betweenCommits(func(conn *sqlite.Conn) error { close(held); return hold(conn) })
	})
	<-held
	begin(3, func() error { _, err := s.Create(t.Context(), newUsers(1)[0]); return err })
	begin(2, func() error { _, err := s.Import(t.Context(), newUsers(2)); return err })
	awaitStats(t, s, stats.Pool{Max: 2, InUse: 2, Waiting: 3}, 3, 2)
	close(release)
	calls.Wait()
	awaitStats(t, s, stats.Pool{Max: 2, Idle: 2}, 0, 0)
	after := s.Stats().Writer.Groups
	if groups, writes := after.Count-before.Count, after.Sum-before.Sum; writes != 5 || groups != 3 {
		t.Errorf("%d writes in %d groups, want 5 in 3", writes, groups)
	}
}

// awaitStats waits until the pool of calls is as it is to be, and so many writes wait.
func awaitStats(t *testing.T, s *Store, calls stats.Pool, small, bulk int) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	want := fmt.Sprint(calls, small, bulk)
	for got := ""; got != want; {
		now := s.Stats()
		got = fmt.Sprint(now.Calls, now.Writer.Small, now.Writer.Bulk)
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			t.Fatalf("stats are %s, want %s", got, want)
		}
	}
}
