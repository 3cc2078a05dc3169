package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
)

// writerOf is a writer on a table of integers.
type writerOf struct {
	*writer
	t       *testing.T
	path    string
	commits int // The writer's goroutine has it until close.
}

func newTestWriter(t *testing.T) *writerOf {
	t.Helper()
	w := &writerOf{t: t, path: filepath.Join(t.TempDir(), "numbers.db")}
	conn, err := connect(w.path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pragmas(conn, `journal_mode = WAL`), exec(conn, `create table numbers (n, padding)`)); err != nil {
		t.Fatal(err)
	}
	w.writer = newWriter(conn, nil, func() error { w.commits++; return nil })
	t.Cleanup(w.mustClose)
	return w
}

func (w *writerOf) mustClose() {
	if err := w.close(); err != nil {
		w.t.Error(err)
	}
}

// hold keeps the writer busy until release is called, so that writes gather.
func (w *writerOf) hold() (release func()) {
	w.t.Helper()
	entered, released := make(chan struct{}), make(chan struct{})
	w.mustSubmit(w.t.Context(), func(*sqlite.Conn) error {
		close(entered)
		<-released
		return nil
	})
	<-entered
	return func() { close(released) }
}

func (w *writerOf) mustSubmit(ctx context.Context, f func(*sqlite.Conn) error) *writeOp {
	w.t.Helper()
	return w.mustQueue(ctx, f, w.queue)
}

func (w *writerOf) mustQueue(ctx context.Context, f func(*sqlite.Conn) error, queue chan<- *writeOp) *writeOp {
	w.t.Helper()
	op := &writeOp{ctx: ctx, run: f, done: make(chan struct{})}
	if err := w.submit(op, queue); err != nil {
		w.t.Fatal(err)
	}
	return op
}

func insertNumber(n int) func(*sqlite.Conn) error {
	return func(conn *sqlite.Conn) error { return exec(conn, `insert into numbers (n) values (?1)`, n) }
}

// stored closes the writer and returns the numbers in its file.
func (w *writerOf) stored() []int {
	w.t.Helper()
	w.mustClose()
	conn, err := connect(w.path, sqlite.OpenReadOnly)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	var numbers []int
	err = sqlitex.Execute(conn, `select n from numbers order by rowid`, &sqlitex.ExecOptions{
		ResultFunc: func(stmt *sqlite.Stmt) error { numbers = append(numbers, stmt.ColumnInt(0)); return nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return numbers
}

func TestWritesThatWaitShareACommit(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	release := w.hold()
	var ops []*writeOp
	var want []int
	for n := range 50 {
		ops, want = append(ops, w.mustSubmit(t.Context(), insertNumber(n))), append(want, n)
	}
	release()
	for _, op := range ops {
		if <-op.done; op.result != nil {
			t.Error(op.result)
		}
	}
	if got := w.stored(); !slices.Equal(got, want) {
		t.Errorf("stored are %v", got)
	}
	if w.commits != 2 {
		t.Errorf("50 writes took %d commits besides the first", w.commits-1)
	}
}

func TestAWriteOfManyRowsHasACommitOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	errFailed := errors.New("failed")
	release := w.hold()
	shared := []*writeOp{w.mustSubmit(t.Context(), insertNumber(1)), w.mustSubmit(t.Context(), insertNumber(2))}
	alone := w.mustQueue(t.Context(), insertNumber(3), w.bulk)
	failed := w.mustQueue(t.Context(), func(conn *sqlite.Conn) error {
		return errors.Join(insertNumber(4)(conn), errFailed)
	}, w.bulk)
	release()
	for _, op := range append(shared, alone) {
		if <-op.done; op.result != nil {
			t.Error(op.result)
		}
	}
	if <-failed.done; !errors.Is(failed.result, errFailed) {
		t.Errorf("result is %v", failed.result)
	}
	if got := w.stored(); !slices.Equal(slices.Sorted(slices.Values(got)), []int{1, 2, 3}) {
		t.Errorf("stored are %v", got)
	}
	if w.commits != 3 {
		t.Errorf("%d commits besides the first", w.commits-1)
	}
}

func TestSmallWritesDoNotWaitBehindThoseOfManyRows(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	release := w.hold()
	var last *writeOp
	for n := range bulkQueue {
		last = w.mustQueue(t.Context(), insertNumber(n), w.bulk)
	}
	small := w.mustSubmit(t.Context(), insertNumber(100))
	release()
	<-small.done
	<-last.done
	if got := w.stored(); len(got) != bulkQueue+1 || got[0] != 100 {
		t.Errorf("stored are, in this order, %v", got)
	}
}

func TestImportsAreSmallWhileThereAreSmallWrites(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	runBulk := func() {
		if err := w.runBulk(t.Context(), 1, insertNumber(1)); err != nil {
			t.Fatal(err)
		}
	}
	runBulk()
	if rows := w.rows(); rows != 0 {
		t.Errorf("without small writes an import has %d rows", rows)
	}
	if err := w.run(t.Context(), insertNumber(2)); err != nil {
		t.Fatal(err)
	}
	for range smallImports {
		if rows := w.rows(); rows != firstPiece {
			t.Fatalf("beside small writes an import has %d rows", rows)
		}
		runBulk()
	}
	if rows := w.rows(); rows != 0 {
		t.Errorf("long after them an import has %d rows", rows)
	}
}

// However long a row takes, a piece beside small writes takes as long.
func TestPiecesHaveAsManyRowsAsTheirTimeAllows(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	w.small.Store(smallImports)
	for _, step := range []struct {
		row         time.Duration
		least, most int
	}{
		{20 * time.Microsecond, 230, 270},
		{time.Millisecond, leastPiece, leastPiece},
		{10 * time.Microsecond, 450, 550},
		{0, mostPiece - 10, mostPiece},
		{50 * time.Microsecond, 90, 110},
	} {
		for range 50 {
			rows := w.rows()
			w.learn(rows, time.Duration(rows)*step.row)
			w.learn(1, time.Second) // One row says little.
		}
		if rows := w.rows(); rows < step.least || rows > step.most {
			t.Errorf("where a row takes %v, a piece has %d, want %d to %d", step.row, rows, step.least, step.most)
		}
	}
}

// What a real import takes decides how many rows a piece has.
func TestPiecesAreMeasured(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	w.small.Store(smallImports)
	slow := func(*sqlite.Conn) error { time.Sleep(4 * pieceTime); return nil }
	if err := w.runBulk(t.Context(), 2*leastPiece, slow); err != nil {
		t.Fatal(err)
	}
	if rows := w.rows(); rows >= firstPiece {
		t.Errorf("after %d rows took more than %v a piece has %d", 2*leastPiece, 4*pieceTime, rows)
	}
}

func TestAWriteOfManyRowsWhoseCallerHasLeftIsNotStored(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := w.runBulk(ctx, 1, func(conn *sqlite.Conn) error {
		defer cancel()
		return insertNumber(1)(conn)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if got := w.stored(); len(got) > 0 {
		t.Errorf("stored are %v", got)
	}
}

func TestAWriteThatFailsLeavesTheOthers(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	errFailed := errors.New("failed")
	release := w.hold()
	before := w.mustSubmit(t.Context(), insertNumber(1))
	failed := w.mustSubmit(t.Context(), func(conn *sqlite.Conn) error {
		return errors.Join(insertNumber(2)(conn), errFailed)
	})
	after := w.mustSubmit(t.Context(), insertNumber(3))
	release()
	<-after.done
	if before.result != nil || !errors.Is(failed.result, errFailed) || after.result != nil {
		t.Errorf("results are %v, %v, %v", before.result, failed.result, after.result)
	}
	if got := w.stored(); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("stored are %v", got)
	}
}

func TestAWriteWhoseContextHasEndedIsNotRun(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	release := w.hold()
	ctx, cancel := context.WithCancel(t.Context())
	ended := w.mustSubmit(ctx, insertNumber(1))
	cancel()
	after := w.mustSubmit(t.Context(), insertNumber(2))
	release()
	<-after.done
	if !errors.Is(ended.result, context.Canceled) || after.result != nil {
		t.Errorf("results are %v, %v", ended.result, after.result)
	}
	if got := w.stored(); !slices.Equal(got, []int{2}) {
		t.Errorf("stored are %v", got)
	}
}

func TestWhoseContextEndsDoesNotWait(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	release := w.hold()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- w.run(ctx, insertNumber(1)) }()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	release()
}

func TestCloseDoesTheWritesThatWait(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	release := w.hold()
	op := w.mustSubmit(t.Context(), insertNumber(1))
	release()
	if got := w.stored(); !slices.Equal(got, []int{1}) {
		t.Errorf("stored are %v", got)
	}
	if <-op.done; op.result != nil {
		t.Error(op.result)
	}
	if err := w.run(t.Context(), insertNumber(2)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("write after close: %v", err)
	}
}

// When the disk is full, what was answered is still what is stored.
func TestWritesOnAFullDisk(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	limitPages(t, w, 20)
	release := w.hold()
	padding := strings.Repeat("x", 10_000)
	var ops []*writeOp
	for n := range 20 {
		ops = append(ops, w.mustSubmit(t.Context(), func(conn *sqlite.Conn) error {
			return exec(conn, `insert into numbers values (?1, ?2)`, n, padding)
		}))
	}
	release()
	var acknowledged []int
	for n, op := range ops {
		<-op.done
		if op.result == nil {
			acknowledged = append(acknowledged, n)
		} else if err := translate(t.Context(), op.result); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("write %d: %v", n, err)
		}
	}
	limitPages(t, w, 1000)
	if err := w.run(t.Context(), insertNumber(100)); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if got := w.stored(); len(acknowledged) == len(ops) || !slices.Equal(got, append(acknowledged, 100)) {
		t.Errorf("stored are %v, acknowledged %v", got, acknowledged)
	}
}

// What one write found when another had been done is not true where that was taken back.
func TestWritesOfAGroupThatIsNotStored(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	limitPages(t, w, 20)
	release := w.hold()
	first := w.mustSubmit(t.Context(), insertNumber(1))
	refused := w.mustSubmit(t.Context(), func(conn *sqlite.Conn) error {
		if n, err := scalar(conn, `select count(*) from numbers where n = 1`); err != nil || n == 0 {
			return err
		}
		return store.ErrEmailTaken
	})
	full := w.mustSubmit(t.Context(), func(conn *sqlite.Conn) error {
		return exec(conn, `insert into numbers values (2, zeroblob(1000000))`)
	})
	release()
	for i, op := range []*writeOp{first, refused, full} {
		<-op.done
		err := translate(t.Context(), op.result)
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrEmailTaken) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if got := w.stored(); len(got) > 0 {
		t.Errorf("stored are %v", got)
	}
}

func limitPages(t *testing.T, w *writerOf, pages int) {
	t.Helper()
	err := w.run(t.Context(), func(conn *sqlite.Conn) error {
		return exec(conn, fmt.Sprintf(`pragma max_page_count = %d`, pages))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A write that panics fails and is rolled back. The writer goes on.
func TestWriterSurvivesPanics(t *testing.T) {
	t.Parallel()
	w := newTestWriter(t)
	insert := func(conn *sqlite.Conn) error { return exec(conn, `insert into numbers (n) values (1)`) }
	insertAndPanic := func(conn *sqlite.Conn) error {
		_ = insert(conn)
		panic("a defect")
	}
	runBulk := func(ctx context.Context, f func(*sqlite.Conn) error) error { return w.runBulk(ctx, 1, f) }
	for _, run := range []func(context.Context, func(*sqlite.Conn) error) error{w.run, runBulk} {
		if err := run(t.Context(), insertAndPanic); err == nil || !strings.Contains(err.Error(), "a defect") {
			t.Errorf("error is %v", err)
		}
	}
	if err := w.run(t.Context(), insert); err != nil {
		t.Fatal(err)
	}
	var stored int64
	err := w.run(t.Context(), func(conn *sqlite.Conn) (err error) {
		stored, err = scalar(conn, `select count(*) from numbers`)
		return err
	})
	if err != nil || stored != 1 {
		t.Errorf("%d rows are stored, error %v", stored, err)
	}
}
