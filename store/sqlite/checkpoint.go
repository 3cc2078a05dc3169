package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store/guard"
)

const (
	// checkpointInterval is the time between two checkpoints while there is a log.
	checkpointInterval = 250 * time.Millisecond
	// maxPasses is the most passes of one checkpoint.
	maxPasses = 8
	// smallPass is the number of pages up to which a pass takes no time to speak of.
	smallPass = 64
	// longLog is the number of pages from which the log is begun anew: 32 MiB.
	longLog = 8_000
	// hugeLog is the number of pages from which writes wait for those who read from the
	// log, rather than make it longer: 256 MiB.
	hugeLog = 64_000
	// emptyAfter is how long the log keeps what was deleted.
	emptyAfter = 5 * time.Second
)

var errLogInUse = errors.New("another program, or a search, has been reading from it for too long")

// checkpointer moves the log into the file, so that no commit has to. It copies on a
// connection of its own, which neither readers nor the writer wait for (PASSIVE). But a log
// is begun anew only when all of it has been copied and nobody reads from it, and copies
// never catch up with writes that do not pause. So the writer is asked to do, between two
// commits, the little that is left.
type checkpointer struct {
	conn   *sqlite.Conn
	writer *writer
	logger *slog.Logger
	copied func()       // Called between two commits when all of the log is in the file.
	close  func() error // Closing twice is fine.

	began    time.Time     // When the log had its first page; zero while it has none.
	dueAge   time.Duration // From which the log is to be emptied.
	duePages int           // From which the log is to be begun anew.
}

// newCheckpointer starts a checkpointer, which owns conn. It is to be closed before the
// writer is.
func newCheckpointer(conn *sqlite.Conn, w *writer, logger *slog.Logger, copied func()) *checkpointer {
	c := &checkpointer{conn: conn, writer: w, logger: logger, copied: copied, dueAge: emptyAfter, duePages: longLog}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { guard.Loop(ctx, logger, "checkpoints", func() { c.loop(ctx) }) })
	c.close = sync.OnceValue(func() error {
		stop()
		running.Wait()
		return conn.Close()
	})
	return c
}

func (c *checkpointer) loop(ctx context.Context) {
	for {
		if c.began.IsZero() {
			select {
			case <-c.writer.written:
				c.began = time.Now()
			case <-ctx.Done():
				return
			}
		}
		c.checkpoint(time.Since(c.began))
		select {
		case <-time.After(checkpointInterval):
		case <-ctx.Done():
			return
		}
	}
}

// checkpoint copies a log of some age, and has it begun anew or emptied when that is due.
// Writes wait meanwhile for those who read from the log, but no longer than a hundredth of
// its age; where that was not enough it is due again when the log is twice as old or long.
func (c *checkpointer) checkpoint(age time.Duration) {
	pages := c.copy()
	mode, wait := "RESTART", min(age/100, busyTimeout)
	switch {
	case age >= c.dueAge:
		mode = "TRUNCATE"
		select {
		case <-c.writer.written: // By then it will be in the file.
		default:
		}
	case pages < c.duePages:
		return
	}
	if pages >= hugeLog {
		wait = busyTimeout
	}
	if err := c.reset(mode, wait); err != nil {
		c.dueAge, c.duePages = max(c.dueAge, 2*age), max(c.duePages, 2*pages)
		if pages >= hugeLog || !errors.Is(err, errLogInUse) {
			c.logger.Warn("the -wal of the SQLite file grows", "pages", pages, "age_seconds", age.Seconds(), "error", err)
		}
		return
	}
	c.duePages = longLog
	if mode == "TRUNCATE" {
		c.dueAge, c.began = emptyAfter, time.Time{}
	}
}

// copy copies the log to its end and returns how many pages it has. What is committed
// during a pass is left to the next, and SQLite has the disk write what was copied only
// at the end of one in which nothing was. Two small ones leave next to nothing to do.
func (c *checkpointer) copy() (pages int) {
	defer c.writer.spare.worked(time.Now())
	copied, small := 0, 0
	for range maxPasses {
		before := copied
		pages, copied = c.pass()
		if small++; copied-before > smallPass {
			small = 0
		}
		if small == 2 {
			break
		}
	}
	return pages
}

// pass copies what is in the log. It returns how many pages the log has, and how many of
// them have been copied by now. What goes wrong in it does so in reset, too, which tells.
func (c *checkpointer) pass() (pages, copied int) {
	_ = sqlitex.Execute(c.conn, `pragma wal_checkpoint(PASSIVE)`, &sqlitex.ExecOptions{
		ResultFunc: func(stmt *sqlite.Stmt) error {
			pages, copied = stmt.ColumnInt(1), stmt.ColumnInt(2)
			return nil
		},
	})
	return pages, copied
}

// reset has the writer copy what is left of the log. After RESTART the next write begins
// the log anew; after TRUNCATE its file is empty, so that what was deleted is gone. It
// waits for those who read from the log.
func (c *checkpointer) reset(mode string, wait time.Duration) error {
	return c.writer.betweenCommits(func(conn *sqlite.Conn) error {
		conn.SetBusyTimeout(wait)
		defer conn.SetBusyTimeout(busyTimeout)
		busy, err := scalar(conn, `pragma wal_checkpoint(`+mode+`)`)
		if err == nil && busy != 0 {
			err = errLogInUse
		}
		if err == nil {
			c.copied()
		}
		return err
	})
}
