package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// logLines receives what a store logs.
type logLines chan string

func (l logLines) Write(line []byte) (int, error) {
	l <- string(bytes.TrimSpace(line))
	return len(line), nil
}

func (l logLines) await(t testing.TB, text string) {
	t.Helper()
	for giveUp := time.After(time.Minute); ; {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return
			}
		case <-giveUp:
			t.Fatalf("the log has no line with %q", text)
		}
	}
}

func openLogging(t testing.TB, path string) (*sqlite.Store, logLines) {
	t.Helper()
	lines := make(logLines, 100)
	return open(t, sqlite.Config{Path: path, Logger: slog.New(slog.NewTextHandler(lines, nil))}), lines
}

func TestAFileHasOneOwner(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	path := filepath.Join(folder, "userd.db")
	link, folderLink := filepath.Join(folder, "link.db"), filepath.Join(t.TempDir(), "folder")
	if err := errors.Join(os.Symlink("userd.db", link), os.Symlink(folder, folderLink)); err != nil {
		t.Fatal(err)
	}
	first := openPath(t, link) // Where there is no file yet.
	user := mustCreate(t, first)
	for _, name := range []string{path, "userd.db", "./userd.db", link, filepath.Join(folderLink, "userd.db")} {
		refuses(t, name, "another userd has this file open")
	}
	shared := open(t, sqlite.Config{Path: path, Shared: true})
	if _, err := shared.Get(t.Context(), user.ID); err != nil {
		t.Error(err)
	}
	mustClose(t, first)
	openPath(t, path)
}

// Each name of a file would get a log of its own.
func TestAFileWithTwoNamesIsRefused(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	mustClose(t, openPath(t, path))
	if err := os.Link(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	refuses(t, path, "hard links")
	refuses(t, path+"2", "hard links")
}

// Nothing is acknowledged that goes into a file which nobody finds.
func TestAFileThatIsMovedIsNoticed(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(path string) error{
		"removed": func(path string) error { return os.Rename(path, path+".away") },
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.WriteFile(path, []byte("another file"), 0o600))
		},
		"its log": func(path string) error { return os.Rename(path+"-wal", path+".away") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			s, lines := openLogging(t, path)
			user := mustCreate(t, s)
			if err := move(path); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Create(t.Context(), newUser()); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a write ends with %v", err)
			}
			lines.await(t, "was removed or replaced while userd had it open: restart userd")
			_, err := s.Get(t.Context(), user.ID)
			if ping := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) || !errors.Is(ping, store.ErrUnavailable) {
				t.Errorf("a read ends with %v, a ping with %v", err, ping)
			}
		})
	}
}

// It is noticed within a second when nobody calls, too.
func TestAFileThatIsPutBackIsUsedAgain(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s, lines := openLogging(t, path)
	user := mustCreate(t, s)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	lines.await(t, "was removed or replaced")
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	lines.await(t, "store answers again")
	if got := mustUpdate(t, s, user.ID, "Zoë"); got.Version != 2 {
		t.Errorf("user is %+v", got)
	}
}

// crashed returns the path of a store that was killed, and what it had acknowledged.
// Backup is a copy that sqlite3 has made of it before.
func crashed(t *testing.T) (path, backup string, all []acknowledged) {
	t.Helper()
	path = newPath(t)
	backup = path + ".backup"
	mustClose(t, openPath(t, path))
	sqlite3(t, path, ".backup "+backup)
	return path, backup, killAfter(t, path, 20)
}

func TestALogOfAnotherFileIsNotApplied(t *testing.T) {
	t.Parallel()
	path, backup, all := crashed(t)
	if err := errors.Join(os.Rename(path, path+".old"), os.Rename(backup, path)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, path, "userd.db-wal has writes of the file that was")
	if s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Shared: true}); err == nil {
		mustClose(t, s)
		t.Error("the file is opened to look at it")
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed, or cannot be read: %v", err)
	}

	// Both ways out that the line names.
	if err := errors.Join(os.Rename(path, backup), os.Rename(path+".old", path)); err != nil {
		t.Fatal(err)
	}
	s := openPath(t, path)
	checkAcknowledged(t, s, all)
	mustClose(t, s)
	killAfter(t, path, 20)
	if err := os.Rename(backup, path); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm", "-lock"} {
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	if users := allIDs(t, openPath(t, path)); len(users) != 0 {
		t.Errorf("the backup has %d users", len(users))
	}
}

// As cp does, which leaves the log of a killed server beside the file that it writes over.
func TestALogOfALaterFileIsNotApplied(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	backedUp := mustCreate(t, s)
	sqlite3(t, path, ".backup "+path+".backup")
	mustCreate(t, s)
	mustClose(t, s)
	all := killAfter(t, path, 20)
	file, backup := mustRead(t, path), mustRead(t, path+".backup")

	mustWrite(t, path, backup)
	refuses(t, path, "userd.db is an older copy of the file that")
	if !bytes.Equal(mustRead(t, path), backup) {
		t.Error("the file has changed")
	}

	// Both ways out that the line names.
	mustWrite(t, path, file)
	s = openPath(t, path)
	checkAcknowledged(t, s, all)
	mustClose(t, s)
	killAfter(t, path, 20)
	mustWrite(t, path, backup)
	for _, suffix := range []string{"-wal", "-shm", "-lock"} {
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	if ids := allIDs(t, openPath(t, path)); len(ids) != 1 || !ids[backedUp.ID] {
		t.Errorf("the backup has %v, want %s alone", ids, backedUp.ID)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustWrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// It has four words. When it is written over a mark of five, the end of that stays behind it.
func TestAMarkOfAnOlderUserdIsRead(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	mustCreate(t, s)
	before := s.Identity()
	mustClose(t, s)
	mark := mustRead(t, path+"-lock")
	words := strings.Fields(string(mark))
	older := fmt.Appendf(nil, "%36s %19s %40s %6s\n", words[0], words[1], words[2], words[3])
	for name, mark := range map[string][]byte{"as it was": older, "over a newer one": append(older, mark[len(older):]...)} {
		mustWrite(t, path+"-lock", mark)
		if s = openPath(t, path); s.Identity() != before {
			t.Errorf("%s: the incarnation is another one", name)
		}
		mustClose(t, s)
	}
}

// Of a folder that was copied with all there is in it, as tar does.
func TestACopyWithItsMarkIsAnotherIncarnation(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	mustCreate(t, s)
	original, cursor := s.Identity(), mustHead(t, s)
	mustClose(t, s)

	copied := copyFolder(t, path)
	s = openPath(t, copied)
	if s.Identity().Incarnation == original.Incarnation {
		t.Error("the incarnation is that of the original")
	}
	if _, _, err := s.Changes(t.Context(), cursor, 1); !errors.Is(err, store.ErrInvalidCursor) {
		t.Errorf("a cursor of the original is answered with %v", err)
	}
	own := s.Identity()
	mustClose(t, s)
	if s = openPath(t, copied); s.Identity() != own {
		t.Error("the incarnation is another one after a mere stop")
	}
	if s = openPath(t, path); s.Identity() != original {
		t.Error("the incarnation of the original is another one")
	}
}

func TestACopyOfAKilledServersFilesHasTheirLog(t *testing.T) {
	t.Parallel()
	path, _, all := crashed(t)
	copied := copyFolder(t, path)
	refuses(t, copied, "remove "+copied+"-lock alone")
	if err := os.Remove(copied + "-lock"); err != nil {
		t.Fatal(err)
	}
	checkAcknowledged(t, openPath(t, copied), all)
}

// copyFolder copies a file and all that lies beside it, and returns the path of the copy.
func copyFolder(t *testing.T, path string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(folder, os.DirFS(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, filepath.Base(path))
}

func TestALogWithoutItsFileIsKept(t *testing.T) {
	t.Parallel()
	path, _, all := crashed(t)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	refuses(t, path, "is gone, but")
	if err := os.Rename(path+".old", path); err != nil {
		t.Fatal(err)
	}
	checkAcknowledged(t, openPath(t, path), all)
}

// Writes that were acknowledged and are gone are not passed over in silence.
func TestALogThatIsMissingIsNoticed(t *testing.T) {
	t.Parallel()
	path, _, all := crashed(t)
	if err := os.Rename(path+"-wal", path+".old"); err != nil {
		t.Fatal(err)
	}
	refuses(t, path, "was acknowledged before userd was killed")
	_ = os.Remove(path + "-shm")
	if err := os.Rename(path+".old", path+"-wal"); err != nil {
		t.Fatal(err)
	}
	checkAcknowledged(t, openPath(t, path), all)
}

// A tool that opens the file of a server that was killed moves the log into it.
func TestAToolMayOpenAFileAfterAKill(t *testing.T) {
	t.Parallel()
	path, _, all := crashed(t)
	sqlite3(t, path, `select count(*) from users`)
	checkAcknowledged(t, openPath(t, path), all)
}

// A restored file does not have what caches and cursors know.
func TestARestoredFileIsAnotherIncarnation(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	mustCreate(t, s)
	sqlite3(t, path, ".backup "+path+".backup")
	mustCreate(t, s)
	old, head := s.Identity(), mustHead(t, s)
	mustClose(t, s)
	s = openPath(t, path)
	if s.Identity() != old {
		t.Error("the identity is another after a mere stop")
	}
	mustClose(t, s)

	data, err := os.ReadFile(path + ".backup")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil { // As cp does.
		t.Fatal(err)
	}
	s, lines := openLogging(t, path)
	lines.await(t, "was restored, moved or replaced")
	if s.Identity().Incarnation == old.Incarnation {
		t.Error("the incarnation is the old one")
	}
	if _, _, err := s.Changes(t.Context(), head, 1); !errors.Is(err, store.ErrInvalidCursor) {
		t.Errorf("a cursor from before is answered with %v", err)
	}
	checkLog(t, s)
	mustClose(t, s)

	restored := s.Identity()
	if err := os.Remove(path + "-lock"); err != nil { // As on another machine.
		t.Fatal(err)
	}
	if s = openPath(t, path); s.Identity().Incarnation == restored.Incarnation {
		t.Error("the incarnation of a file that comes from elsewhere is the old one")
	}
}
