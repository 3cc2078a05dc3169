package sqlite_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store/sqlite"
)

// script runs statements on a file.
func script(t testing.TB, path, statements string) {
	t.Helper()
	conn, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite|zombiezen.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := sqlitex.ExecuteScript(conn, statements, nil); err != nil {
		t.Fatal(err)
	}
}

// refuses checks that a file is not opened, and that the error says which file and
// why in one line.
func refuses(t testing.TB, path, why string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err == nil {
		mustClose(t, s)
		t.Fatalf("%s is opened", path)
	}
	text := err.Error()
	if !strings.Contains(text, path) || !strings.Contains(text, why) || strings.Contains(text, "\n") {
		t.Errorf("error is %q, want %q", text, why)
	}
}

func TestAFileOfANewerProgramIsRefused(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	user := mustCreate(t, s)
	mustClose(t, s)
	script(t, path, `pragma user_version = 99`)
	refuses(t, path, "schema version 99")
	refuses(t, path, "run a newer userd")
	schema, err := sqlite.Status(t.Context(), sqlite.Config{Path: path})
	if err != nil || schema.Current != 99 || schema.Check() == nil {
		t.Errorf("status is %+v, error %v", schema, err)
	}
	script(t, path, fmt.Sprintf(`pragma user_version = %d`, schema.Wanted))
	if _, err := openPath(t, path).Get(t.Context(), user.ID); err != nil {
		t.Error(err)
	}
}

func TestAFileThatIsNoDatabaseIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	text := bytes.Repeat([]byte("My notes.\n"), 1000)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, path, "not a database")
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
		t.Errorf("the file has changed, or cannot be read: %v", err)
	}
}

func TestADatabaseOfAnotherProgramIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string]string{
		"without an application id": `create table notes (text); insert into notes values ('x')`,
		"with an application id":    `pragma application_id = 4711; create table notes (text)`,
		"with a table of users":     `pragma application_id = 4711; pragma user_version = 99; create table users (name)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			script(t, path, statements)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			refuses(t, path, "of another program")
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
				t.Errorf("the file has changed, or cannot be read: %v", err)
			}
		})
	}
}

func TestAPathThatCannotBeWrittenIsRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, why string }{
		"no folder": {filepath.Join(folder, "none", "userd.db"), "no such file or directory"},
		"a folder":  {folder, "this is a directory: name a file in it"},
		"in a file": {filepath.Join(file, "userd.db"), "not a directory"},
		"read-only": {"/proc/userd.db", "userd.db-lock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, c.path, c.why)
		})
	}
}

// SQLite would give each connection a database of its own.
func TestAPathThatNamesNoFileIsRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", ":memory:"} {
		refuses(t, path, "names no file")
		if _, err := sqlite.Migrate(t.Context(), sqlite.Config{Path: path}); err == nil {
			t.Errorf("path %q is migrated", path)
		}
	}
}

func TestANewFileIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	mustCreate(t, openPath(t, path))
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("mode of %s is %v", filepath.Base(file), mode)
		}
	}
}

func TestTheModeOfAFileIsKept(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	mustClose(t, openPath(t, path))
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	openPath(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode is %v, error %v", info.Mode(), err)
	}
}

func TestAnEmptyFileBecomesAStore(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, openPath(t, path))
}

// Whoever looks at a file makes none, and leaves an older one to its owner, which may be an
// older program that has it open.
func TestAToolLeavesFilesAsTheyAre(t *testing.T) {
	t.Parallel()
	older, err := os.ReadFile("testdata/version2.db")
	if err != nil {
		t.Fatal(err)
	}
	for want, before := range map[string][]byte{"no such file": nil, "run `userd migrate up`": older} {
		path := newPath(t)
		if before != nil {
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Shared: true}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a store: %t, error %v, want %q", s != nil, err, want)
		}
		if after, err := os.ReadFile(path); (err == nil) != (before != nil) || !bytes.Equal(before, after) {
			t.Errorf("%s: the file has %d bytes and had %d, error %v", want, len(after), len(before), err)
		}
		if _, err := os.Stat(path + "-lock"); err == nil {
			t.Errorf("%s: there is a lock", want)
		}
	}
}

func TestAPathIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "50%25.db", "what?mode=memory", "#1.db", "é.db", "file:x.db"} {
		path := filepath.Join(t.TempDir(), name)
		s := openPath(t, path)
		user := mustCreate(t, s)
		mustClose(t, s)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		if _, err := openPath(t, path).Get(t.Context(), user.ID); err != nil {
			t.Error(err)
		}
	}
}

func TestMigrateSaysWhatItWasBefore(t *testing.T) {
	t.Parallel()
	config := sqlite.Config{Path: newPath(t)}
	status, err := sqlite.Status(t.Context(), config)
	if err != nil || status.Current != 0 || status.Check() == nil {
		t.Errorf("status of no file is %+v, error %v", status, err)
	}
	if _, err := os.Stat(config.Path); err == nil {
		t.Error("status made the file")
	}
	before, err := sqlite.Migrate(t.Context(), config)
	if err != nil || before != status {
		t.Errorf("before was %+v, error %v", before, err)
	}
	after, err := sqlite.Migrate(t.Context(), config)
	if err != nil || after.Check() != nil {
		t.Errorf("after is %+v, error %v", after, err)
	}
}
