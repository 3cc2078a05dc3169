package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
)

// A write that finds nothing to change succeeds on a full disk. The log does not take that for
// the end of it.
func TestTheEndOfAFullDiskIsSeenByWhatIsWritten(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s, err := Open(t.Context(), Config{
		Path: filepath.Join(t.TempDir(), "userd.db"), Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ada := store.NewUser{ID: uuid.NewString(), Email: "ada@example.com", DisplayName: "Ada"}
	if _, err := s.Create(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	limitPages := func(pages int) {
		t.Helper()
		err := s.writer.betweenCommits(func(conn *sqlite.Conn) error { return pragmas(conn, fmt.Sprint("max_page_count = ", pages)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	limitPages(1) // As many as there are.
	update := store.Update{ID: ada.ID, DisplayName: &ada.DisplayName}
	large := store.Update{ID: ada.ID, SetAttributes: []store.Attribute{{Name: "notes", Value: strings.Repeat("x", store.MaxAttributeBytes/2)}}}
	if _, err := s.Update(t.Context(), large); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(log.String(), "store is unavailable") {
		t.Fatalf("on a full disk: %v\n%s", err, log.String())
	}
	if _, err := s.Update(t.Context(), update); err != nil || strings.Contains(log.String(), "answers again") {
		t.Errorf("what changes nothing: %v\n%s", err, log.String())
	}
	limitPages(1_000_000)
	if _, err := s.Update(t.Context(), large); err != nil || strings.Count(log.String(), "answers again") != 1 {
		t.Errorf("with room again: %v\n%s", err, log.String())
	}
}

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
