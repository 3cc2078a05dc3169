package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// wantRefused runs a command, which is to say in one line why it does nothing.
func wantRefused(t *testing.T, why string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), userdPath(t), args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), why) || strings.Count(string(out), "\n") != 1 {
		t.Errorf("userd %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// beginCopy makes a file of SQLite with the beginning of a copy of another database.
func beginCopy(t *testing.T, path string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context(), store.Load{CopyOf: uuid.NewString()}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A part of a copy is not served, nor copied in its turn, as if it were the whole. The copy goes
// on with it.
func TestAnUnfinishedCopyIsNotServed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "userd.db")
	beginCopy(t, path)
	const why = "users are missing: a copy into this database was interrupted"
	wantRefused(t, why, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "", "--database", "sqlite:"+path)
	wantRefused(t, why, "copy", "--from", "sqlite:"+path, "--to", "sqlite:"+filepath.Join(folder, "other.db"))
}

// What a copy does not go on with stays as it is, its schema too, and the error says the way out.
func TestCopyLeavesWhatIsThere(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	from, begun := "sqlite:"+filepath.Join(folder, "from.db"), filepath.Join(folder, "begun.db")
	if out, err := exec.CommandContext(t.Context(), userdPath(t), "migrate", "up", "--database", from).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	old := firstSQLite(t)
	wantRefused(t, "run `userd migrate up`", "copy", "--from", from, "--to", old)
	wantRefused(t, "has schema version 1 and", "migrate", "status", "--database", old)

	beginCopy(t, begun)
	wantRefused(t, "a part of a copy of another database; nothing was written: delete it and copy anew", "copy", "--from", from, "--to", "sqlite:"+begun)
}

// What only looks at a database leaves its schema to the program that owns it.
func TestLookingLeavesTheSchema(t *testing.T) {
	t.Parallel()
	const why = "run `userd migrate up`"
	database := firstSQLite(t)
	wantRefused(t, why, "cache", "check", "--database", database, "--redis", "redis://127.0.0.1:1")
	wantRefused(t, why, "copy", "--from", database, "--to", "sqlite:"+filepath.Join(t.TempDir(), "other.db"))
	wantRefused(t, why, "migrate", "status", "--database", database)
}
