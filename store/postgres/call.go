package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

const (
	// hurryTime is the time to its deadline below which a caller does not wait for the end
	// of its statement.
	hurryTime = 100 * time.Millisecond
	// graceTime is how long a statement may go on when its caller has left. Most have
	// ended by then: asking the database to end one costs it a process.
	graceTime = 25 * time.Millisecond
	// cancelTime is how long the database may take to end a statement when it was asked
	// to. Then the connection is closed.
	cancelTime = time.Second
)

// read runs f, which changes nothing, and runs it once more on a new connection when it
// lost its own.
func read[T any](ctx context.Context, s *Store, f func(context.Context, *session) (T, error)) (T, error) {
	return call(ctx, s, store.Reading, f, brokenPool)
}

// write runs f, which is one statement or transaction, and runs it once more when
// nothing of it can have reached the database. f may go on, and commit, when its caller
// has left.
func write[T any](ctx context.Context, s *Store, f func(context.Context, *session) (T, error)) (T, error) {
	return call(ctx, s, store.Writing, f, pgconn.SafeToRetry)
}

// writeTx is write for transactions, which also run again, a few times, after PostgreSQL
// has rolled one back for the sake of another.
func writeTx[T any](ctx context.Context, s *Store, f func(context.Context, *session) (T, error)) (T, error) {
	const attempts = 5
	return write(ctx, s, func(ctx context.Context, on *session) (T, error) {
		value, err := f(ctx, on)
		for attempt := 1; attempt < attempts && conflict(err); attempt++ {
			value, err = f(ctx, on)
		}
		return value, err
	})
}

// wrote is called after a commit that has changed something.
func (s *Store) wrote(ctx context.Context) {
	s.causes.Wrote(ctx)
	s.wake.committed()
}

func call[T any](ctx context.Context, s *Store, kind store.Call,
	f func(context.Context, *session) (T, error), retry func(error) bool,
) (T, error) {
	value, err := attempt(ctx, s, f)
	if err != nil && brokenPool(err) && ctx.Err() == nil {
		s.pool.Reset()
		s.vital.Reset()
		if retry(err) {
			value, err = attempt(ctx, s, f)
		}
	}
	if kind == store.Reading && lockTimeout(err) && ctx.Err() == nil {
		err = store.Unavailable(lockTooLong, err) // A read loses against nobody.
	} else {
		err = translate(ctx, err)
	}
	s.causes.See(ctx, kind, err)
	return value, err
}

// attempt runs f in a session, which is kept when ctx ends first: pgx by itself would close
// the connection, and callers in a hurry would have the database do little else than make
// new ones.
func attempt[T any](ctx context.Context, s *Store, f func(context.Context, *session) (T, error)) (T, error) {
	from := s.poolOf(ctx)
	conn, err := from.take(ctx)
	if err != nil {
		var none T
		return none, err
	}
	on := &session{Conn: conn.Conn(), caller: ctx, from: from, taken: conn, limitless: s.sessions.pooled.Load()}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < hurryTime {
		return inHurry(on, f)
	}
	defer on.end()
	defer context.AfterFunc(ctx, on.expire)()
	return f(context.WithoutCancel(ctx), on)
}

// inHurry runs f and returns at once when its caller's context ends. What f sets is for f
// alone, it may still be running. A goroutine for each call would make all slower.
func inHurry[T any](on *session, f func(context.Context, *session) (T, error)) (T, error) {
	result := &result[T]{done: make(chan struct{})}
	go result.set(on, f)
	select {
	case <-result.done:
		return result.value, result.err
	case <-on.caller.Done():
		on.leave()
		var none T
		return none, on.caller.Err()
	}
}

// result is what becomes of a call.
type result[T any] struct {
	value T
	err   error
	done  chan struct{} // Closed when value and err are set.
}

func (r *result[T]) set(on *session, f func(context.Context, *session) (T, error)) {
	defer close(r.done)
	defer on.end()
	defer guard.Recover(&r.err)
	if r.err = on.caller.Err(); r.err == nil {
		r.value, r.err = f(context.WithoutCancel(on.caller), on)
	}
}

// session is a connection while a call has it. Statements run on contexts that do not end:
// when the caller's does, the database is asked to end them.
type session struct {
	*pgx.Conn
	caller    context.Context
	from      *connections
	taken     *pgxpool.Conn
	limitless bool // Its transactions have to set the limits.

	mu       sync.Mutex
	ended    bool
	canceled bool // The database was asked to end a statement.
}

// expire is called when the caller's context has ended. A statement that has not ended at
// its deadline is a long one; a caller that leaves before is likely to leave a short one.
func (s *session) expire() {
	if errors.Is(s.caller.Err(), context.DeadlineExceeded) {
		_ = guard.Run(s.cancel)
		return
	}
	s.leave()
}

// leave lets what runs go on for a little time.
func (s *session) leave() { guard.Timer(graceTime, s.cancel) }

// cancel asks the database to end the statement that runs.
func (s *session) cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.canceled = true
	ctx, cancel := context.WithTimeout(context.Background(), cancelTime)
	defer cancel()
	s.bound()
	_ = s.PgConn().CancelRequest(ctx) // Else the connection is closed.
}

// bound lets the connection live no longer than cancelTime, unless it is unbound.
func (s *session) bound() { _ = s.PgConn().Conn().SetDeadline(time.Now().Add(cancelTime)) }

func (s *session) unbound() { _ = s.PgConn().Conn().SetDeadline(time.Time{}) }

// end gives the connection back.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.canceled && !s.IsClosed() {
		s.bound()
		_ = s.Ping(context.Background()) // Takes the cancellation if it came too late for the statement.
		s.unbound()
	}
	s.from.giveBack(s.taken)
}

// transact runs f in a transaction. It neither begins nor commits one whose caller has
// left.
func (s *session) transact(ctx context.Context, f func(context.Context, pgx.Tx) error) error {
	if err := s.caller.Err(); err != nil {
		return err
	}
	var options pgx.TxOptions
	if s.limitless {
		options.BeginQuery = beginLimitedSQL
	}
	tx, err := s.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	err = f(ctx, tx)
	if err == nil {
		err = s.caller.Err()
	}
	if err != nil {
		_ = tx.Rollback(ctx) // What went wrong is err.
		return err
	}
	return tx.Commit(ctx)
}
