package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/example/userd/store/storetest"
)

func TestLifelines(t *testing.T) {
	t.Parallel()
	const readers = 3
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "userd.db"), Readers: readers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	storetest.Lifelines(t, s, func() {
		for range readers {
			conn, err := s.readers.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.readers.Put(conn) })
		}
	})
	held, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.Head(held); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that is not vital, while all readers are held: %v", err)
	}
}
