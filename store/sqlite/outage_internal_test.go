package sqlite

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
)

// A caller whose deadline passes learns no more than that; the log learns what it has
// waited for, once.
func TestTheLogNamesTheCauseOfADeadline(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "userd.db")
	var log bytes.Buffer
	s, err := Open(t.Context(), Config{Path: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, err := connect(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := exec(other, `begin immediate`); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := s.Create(ctx, store.NewUser{ID: uuid.NewString(), Email: "ada@example.com", DisplayName: "Ada"})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("create: %v", err)
		}
	}
	if n := strings.Count(log.String(), "another program may hold its lock"); n != 1 {
		t.Errorf("the log names the lock %d times:\n%s", n, log.String())
	}
	if err := exec(other, `rollback`); err != nil {
		t.Fatal(err)
	}
}
