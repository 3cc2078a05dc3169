package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/store"
)

// At finds all changes since a time, with those of the clocks that may be behind, and no others.
func TestAtFindsAllSinceATime(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "userd.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	noon := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	at := func(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }
	const last = 60 // Minutes, with a change each.
	for minute := range last {
		s.now = func() time.Time { return at(minute) }
		user := store.NewUser{ID: uuid.NewString(), DisplayName: "Ada", Email: fmt.Sprintf("ada%d@example.com", minute)}
		if _, err := s.Create(t.Context(), user); err != nil {
			t.Fatal(err)
		}
	}
	slack := int(clockSlack * int64(time.Microsecond) / int64(time.Minute))
	for _, first := range []int{0, 20} {
		if _, err := s.Prune(t.Context(), at(first)); err != nil {
			t.Fatal(err)
		}
		for minute := -2; minute < last+3; minute++ {
			cursor, err := s.At(t.Context(), at(minute))
			if err != nil {
				t.Fatal(err)
			}
			changes, _, err := s.Changes(t.Context(), cursor, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if want := last - min(max(minute-slack, first), last); len(changes) != want {
				t.Errorf("since minute %d, where the log begins with %d, there are %d changes, want %d", minute, first, len(changes), want)
			}
		}
	}
}
