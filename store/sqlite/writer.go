package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

// maxGroup is the most writes that share a transaction.
const maxGroup = 128

// How long the log keeps what was deleted: it is emptied this long after a write, and
// where others read from it, which a writer waits for only shortly, again and again.
const (
	emptyAfter = 5 * time.Second
	emptyAgain = time.Second
	emptyWait  = 100 * time.Millisecond
)

var errClosed = fmt.Errorf("store is closed: %w", store.ErrUnavailable)

// writer runs writes on one connection, in one goroutine.
type writer struct {
	conn      *sqlite.Conn
	committed func() error
	queue     chan *writeOp
	done      chan error // Gets the goroutine's last word.

	mu     sync.RWMutex // Held for reading by those who send to queue.
	closed bool
}

// writeOp is one write and, when done is closed, what became of it.
type writeOp struct {
	ctx    context.Context
	run    func(*sqlite.Conn) error
	shares bool // May share a transaction with others.
	result error
	done   chan struct{}
}

// newWriter starts a writer, which owns conn. It calls committed after every
// commit, and acknowledges the writes when that returns nil.
func newWriter(conn *sqlite.Conn, committed func() error) *writer {
	w := &writer{conn: conn, committed: committed, queue: make(chan *writeOp, maxGroup), done: make(chan error, 1)}
	go func() { w.done <- w.loop() }()
	return w
}

// run runs f in a transaction and returns when it is committed or has failed. When
// ctx ends first, run returns at once: f may then still be running, and may be
// committed or not, so the caller must not look at what it has set.
func (w *writer) run(ctx context.Context, f func(*sqlite.Conn) error, shares bool) error {
	op := &writeOp{ctx: ctx, run: f, shares: shares, done: make(chan struct{})}
	if err := w.submit(op); err != nil {
		return err
	}
	select {
	case <-op.done:
		return op.result
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) submit(op *writeOp) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return errClosed
	}
	select {
	case w.queue <- op:
		return nil
	case <-op.ctx.Done():
		return op.ctx.Err()
	}
}

// close does the writes that wait and closes the connection. Closing twice is
// fine.
func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	close(w.queue)
	return <-w.done
}

func (w *writer) loop() error {
	var empty <-chan time.Time // When the log is due to be emptied; nil while nothing is in it.
	for {
		select {
		case first, ok := <-w.queue:
			if !ok {
				return w.conn.Close()
			}
			w.write(w.gather(first))
			if empty == nil {
				empty = time.After(emptyAfter)
			}
		case <-empty:
			if empty = nil; !w.emptyLog() {
				empty = time.After(emptyAgain)
			}
		}
	}
}

// write runs those of a group that share a transaction, and the others alone.
func (w *writer) write(group []*writeOp) {
	var shared []*writeOp
	for _, op := range group {
		if op.shares {
			shared = append(shared, op)
		} else {
			w.finish(op)
		}
	}
	w.finish(shared...)
}

// emptyLog moves the log into the file and cuts it off, so that what was deleted does
// not stay in it. It reports false when others read from the log for too long.
func (w *writer) emptyLog() bool {
	w.conn.SetBusyTimeout(emptyWait)
	defer w.conn.SetBusyTimeout(busyTimeout)
	busy, err := scalar(w.conn, `pragma wal_checkpoint(TRUNCATE)`)
	return err == nil && busy == 0
}

// gather returns first and what else waits, up to a group. It does not wait.
func (w *writer) gather(first *writeOp) []*writeOp {
	group := []*writeOp{first}
	for len(group) < maxGroup {
		select {
		case op, ok := <-w.queue:
			if !ok {
				return group
			}
			group = append(group, op)
		default:
			return group
		}
	}
	return group
}

// finish runs a group in one transaction and says what became of it.
func (w *writer) finish(group ...*writeOp) {
	if len(group) == 0 {
		return
	}
	if err := w.commitAndTell(group); err != nil {
		for _, op := range group {
			op.result = errors.Join(op.result, err)
		}
	}
	for _, op := range group {
		close(op.done)
	}
}

// commitAndTell commits a group and makes that known. A panic in there fails the group,
// and the writer goes on.
func (w *writer) commitAndTell(group []*writeOp) (err error) {
	defer guard.Recover(&err)
	if err := w.commit(group); err != nil {
		return err
	}
	return w.committed()
}

// commit runs a group in one transaction. When it returns an error, nothing of the
// group is stored.
func (w *writer) commit(group []*writeOp) (err error) {
	end, err := sqlitex.ImmediateTransaction(w.conn)
	if err != nil {
		return err
	}
	defer end(&err)
	if len(group) == 1 {
		return w.alone(group[0])
	}
	for _, op := range group {
		op.result = w.inSavepoint(op)
		if op.result != nil && w.conn.AutocommitEnabled() {
			// SQLite has rolled back everything, as it does when the disk is full.
			return op.result
		}
	}
	return nil
}

// alone runs the only write of a transaction.
func (w *writer) alone(op *writeOp) error {
	if err := op.ctx.Err(); err != nil {
		return err
	}
	return op.run(w.conn)
}

// inSavepoint runs one of several writes of a transaction and takes back what it
// has done if it fails.
func (w *writer) inSavepoint(op *writeOp) (err error) {
	defer guard.Recover(&err)
	if err := op.ctx.Err(); err != nil {
		return err
	}
	defer sqlitex.Save(w.conn)(&err)
	return op.run(w.conn)
}
