package sqlite

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
	"github.com/example/userd/store/stats"
)

// maxGroup is the most writes that share a transaction.
const maxGroup = 128

// bulkQueue is how many writes of many rows wait in the writer. Others wait for room.
const bulkQueue = 16

// pieceTime is how long the rows of one import may take while there are small writes, which
// wait for all of it and its commit. A larger one is faster, so after smallImports without any
// small write between them the next may have all its rows.
const pieceTime, smallImports = 5 * time.Millisecond, 64

// firstPiece is the rows of a piece until some have been measured. It has no fewer than
// leastPiece, whose commit takes about as long as they do, and no more than mostPiece.
const firstPiece, leastPiece, mostPiece = 100, 50, 2_000

var errClosed = fmt.Errorf("store is closed: %w", store.ErrUnavailable)

// writer runs writes on one connection, in one goroutine. A write of many rows has a
// transaction of its own, before which the small ones that wait have theirs: however
// many imports there are, a small write waits for the rows of one.
type writer struct {
	conn      *sqlite.Conn
	spare     *spare
	committed func() error
	queue     chan *writeOp // Of small writes, which share a transaction.
	bulk      chan *writeOp // Of writes of many rows.
	between   chan func()   // Of what is done between two commits.
	written   chan struct{} // Has one when something has been written since it was taken.
	done      chan error    // Gets the goroutine's last word.
	small     atomic.Int64  // How many of the next imports are to be small, when positive.
	piece     atomic.Int64  // How many rows take pieceTime, of late.
	groups    *stats.Histogram

	mu     sync.RWMutex // Held for reading by those who send to the queues.
	closed bool
}

// writeOp is one write and, when done is closed, what became of it.
type writeOp struct {
	ctx    context.Context
	run    func(*sqlite.Conn) error
	result error
	done   chan struct{}
}

// newWriter starts a writer, which owns conn. It calls committed after every
// commit, and acknowledges the writes when that returns nil.
func newWriter(conn *sqlite.Conn, spare *spare, committed func() error) *writer {
	w := &writer{
		conn: conn, spare: spare, committed: committed, done: make(chan error, 1),
		queue: make(chan *writeOp, maxGroup), bulk: make(chan *writeOp, bulkQueue),
		between: make(chan func()), written: make(chan struct{}, 1),
		groups: stats.NewHistogram([]int64{1, 2, 4, 8, 16, 32, 64, maxGroup}),
	}
	w.piece.Store(firstPiece)
	go func() { w.done <- w.loop() }()
	return w
}

// run runs f, which writes a few rows, in a transaction and returns when it is committed
// or has failed. When ctx ends first, run returns at once: f may then still be running,
// and may be committed or not, so the caller must not look at what it has set.
func (w *writer) run(ctx context.Context, f func(*sqlite.Conn) error) error {
	w.small.Store(smallImports)
	return w.runIn(ctx, w.queue, f)
}

// runBulk is run for an f that writes so many rows.
func (w *writer) runBulk(ctx context.Context, rows int, f func(*sqlite.Conn) error) error {
	return w.runIn(ctx, w.bulk, func(conn *sqlite.Conn) error {
		began := time.Now()
		err := f(conn)
		w.learn(rows, time.Since(began))
		return err
	})
}

// learn takes the time of some rows.
func (w *writer) learn(rows int, took time.Duration) {
	if rows < leastPiece {
		return // Most of it is not theirs.
	}
	piece := w.piece.Load()
	fit := float64(rows) * float64(pieceTime) / float64(max(took, time.Microsecond))
	w.piece.Store(max(leastPiece, piece+(int64(min(fit, mostPiece))-piece)/4))
}

// rows is the most rows that an import should have now, or 0.
func (w *writer) rows() int {
	if w.small.Load() > 0 {
		return int(w.piece.Load())
	}
	return 0
}

func (w *writer) runIn(ctx context.Context, queue chan<- *writeOp, f func(*sqlite.Conn) error) error {
	op := &writeOp{ctx: ctx, run: f, done: make(chan struct{})}
	if err := w.submit(op, queue); err != nil {
		return err
	}
	select {
	case <-op.done:
		return op.result
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) submit(op *writeOp, queue chan<- *writeOp) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return errClosed
	}
	select {
	case queue <- op:
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
	close(w.bulk)
	return <-w.done
}

func (w *writer) loop() error {
	for queue, bulk := w.queue, w.bulk; queue != nil || bulk != nil; {
		select {
		case op, ok := <-queue:
			if !ok {
				queue = nil
				continue
			}
			w.finish(w.gather(op)...)
		case op, ok := <-bulk:
			if !ok {
				bulk = nil
				continue
			}
			w.finish(w.gather()...) // Those that have come meanwhile.
			w.small.Add(-1)
			w.finish(op)
		case f := <-w.between:
			f()
		}
	}
	return w.conn.Close()
}

// betweenCommits runs f on the writer's connection, outside of transactions. The writer
// must not be closed meanwhile.
func (w *writer) betweenCommits(f func(*sqlite.Conn) error) (err error) {
	done := make(chan struct{})
	w.between <- func() {
		defer close(done)
		defer w.spare.worked(time.Now())
		defer guard.Recover(&err)
		err = f(w.conn)
	}
	<-done
	return err
}

// gather adds the small writes that wait to a group. It does not wait.
func (w *writer) gather(group ...*writeOp) []*writeOp {
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
	began := time.Now()
	w.groups.Observe(int64(len(group)))
	err := w.commitAndTell(group)
	w.spare.worked(began)
	if err != nil {
		for _, op := range group {
			op.result = err // What it had found was of the group, and is no more.
		}
	}
	for _, op := range group {
		close(op.done)
	}
	w.tellWritten()
}

// tellWritten tells the checkpointer that there is something in the log.
func (w *writer) tellWritten() {
	select {
	case w.written <- struct{}{}:
	default:
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

// alone runs the only write of a transaction, which is not committed when its caller has
// left.
func (w *writer) alone(op *writeOp) error {
	if err := op.ctx.Err(); err != nil {
		return err
	}
	if err := op.run(w.conn); err != nil {
		return err
	}
	return op.ctx.Err()
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
