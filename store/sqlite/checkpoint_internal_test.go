package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// logOf is a store whose log is checkpointed only when the test says so.
type logOf struct {
	*Store
	*testing.T
	path        string
	checkpoints *checkpointer
}

func newTestLog(t *testing.T) *logOf {
	t.Helper()
	l := openTestLog(t)
	l.names.close() // It writes, too.
	if err := l.log.close(); err != nil {
		t.Fatal(err)
	}
	conn, err := connect(l.path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	l.checkpoints = &checkpointer{conn: conn, writer: l.writer, logger: l.log.logger, copied: l.log.copied, dueAge: emptyAfter, duePages: longLog}
	if err := l.checkpoints.reset("TRUNCATE", busyTimeout); err != nil {
		t.Fatal(err)
	}
	return l
}

// openTestLog opens a store as it is, with a table for write.
func openTestLog(t *testing.T) *logOf {
	t.Helper()
	path := filepath.Join(t.TempDir(), "userd.db")
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	l := &logOf{Store: s, T: t, path: path}
	l.mustWrite(`create table padding (data blob)`)
	return l
}

func (l *logOf) mustWrite(statement string) {
	l.Helper()
	if err := l.write(l.Context(), func(conn *sqlite.Conn) error { return exec(conn, statement) }); err != nil {
		l.Fatal(err)
	}
}

// mustWritePages makes the log so many pages longer, or a few more.
func (l *logOf) mustWritePages(pages int) {
	l.Helper()
	l.mustWrite(fmt.Sprintf(`insert into padding values (zeroblob(%d))`, 4096*pages))
}

// pages returns how many pages the log has, and how many of them are in the file.
func (l *logOf) pages() (pages, copied int) {
	l.Helper()
	err := l.writer.betweenCommits(func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, `pragma wal_checkpoint(NOOP)`, &sqlitex.ExecOptions{
			ResultFunc: func(stmt *sqlite.Stmt) error {
				pages, copied = stmt.ColumnInt(1), stmt.ColumnInt(2)
				return nil
			},
		})
	})
	if err != nil {
		l.Fatal(err)
	}
	return pages, copied
}

// size returns the size of the log.
func (l *logOf) size() int64 {
	l.Helper()
	info, err := os.Stat(l.path + "-wal")
	if err != nil {
		l.Fatal(err)
	}
	return info.Size()
}

// However long the log is, no caller waits until a commit has moved it into the file.
func TestCommitsDoNoCheckpoints(t *testing.T) {
	t.Parallel()
	l := newTestLog(t)
	l.mustWritePages(longLog)
	l.mustWritePages(1)
	if pages, copied := l.pages(); pages < longLog || copied > 0 {
		t.Errorf("of %d pages in the log commits have copied %d", pages, copied)
	}
}

func TestALongLogIsBegunAnew(t *testing.T) {
	t.Parallel()
	l := newTestLog(t)
	l.mustWritePages(longLog / 2)
	l.mustWritePages(longLog / 2)
	size := l.size()
	l.checkpoints.checkpoint(0)
	if pages, copied := l.pages(); copied < pages {
		t.Errorf("of %d pages of the log %d are copied", pages, copied)
	}
	l.mustWritePages(1)
	if pages, _ := l.pages(); pages > longLog/2 {
		t.Errorf("the log goes on to page %d", pages)
	}
	if l.size() != size {
		t.Errorf("the log's file had %d bytes, and has %d: it is not used again", size, l.size())
	}
}

func TestAnOldLogIsEmptied(t *testing.T) {
	t.Parallel()
	l := newTestLog(t)
	l.mustWritePages(10)
	l.checkpoints.checkpoint(emptyAfter - 1)
	if l.size() == 0 {
		t.Error("a new log is empty")
	}
	l.checkpoints.checkpoint(emptyAfter)
	if l.size() > 0 {
		t.Errorf("the log has %d bytes", l.size())
	}
}

// A log that others read from is left alone, until it is twice as old, and so are writes.
func TestALogThatIsReadIsEmptiedLater(t *testing.T) {
	t.Parallel()
	l := newTestLog(t)
	l.mustWritePages(10)
	err := l.snapshot(t.Context(), func(conn *sqlite.Conn) error {
		if _, err := scalar(conn, headSQL); err != nil {
			return err
		}
		l.mustWritePages(10)
		l.checkpoints.checkpoint(emptyAfter)
		l.mustWritePages(10)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l.checkpoints.checkpoint(2*emptyAfter - 1)
	if l.size() == 0 {
		t.Error("it is emptied before it is due")
	}
	l.checkpoints.checkpoint(2 * emptyAfter)
	if l.size() > 0 {
		t.Errorf("the log has %d bytes when nobody reads", l.size())
	}
}

// A checkpoint never catches up with writes that do not pause, yet the log has a bound.
func TestTheLogIsBegunAnewUnderWritesWithoutPause(t *testing.T) {
	t.Parallel()
	l := openTestLog(t)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	for range 4 {
		writers.Go(func() {
			for ctx.Err() == nil {
				l.mustWritePages(8)
			}
		})
	}
	for last := 0; ; {
		pages, _ := l.pages()
		if pages > hugeLog {
			t.Fatalf("the log has %d pages", pages)
		}
		if pages < last {
			return
		}
		last = pages
	}
}
