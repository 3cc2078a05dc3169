package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
)

// A search gives its reader back when its caller leaves, however many rows are left.
func TestSearchesEndWithTheirCallers(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "userd.db"), Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const endlessSQL = `with recursive names (n) as (select 1 union all select n + 1 from names)
		select count(*) from names where contains_fold(n, 'x')`
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		err := s.read(ctx, func(conn *sqlite.Conn) error {
			_, err := scalar(conn, endlessSQL)
			return err
		})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a search without an end: %v", err)
		}
	}
	if _, err := s.Head(t.Context()); err != nil {
		t.Errorf("a read after it: %v", err)
	}
}
