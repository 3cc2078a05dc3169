package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

const (
	// namesInterval is the time between two steps of the index of names while there are
	// writes, which wait for a step.
	namesInterval = 100 * time.Millisecond
	// namesStep and namesStepTime are the most users of a step and the time after which it
	// ends.
	namesStep, namesStepTime = 1000, 5 * time.Millisecond
	// The steps take at most one part in namesShare of the time of all cores: where there is
	// one core, cached reads wait for each step as well.
	namesShare = 4
	// namesRetry is the time from a step that failed to the next.
	namesRetry = 5 * time.Second
	// namesLast is how long a store that is closed still follows the log.
	namesLast = time.Second
)

const (
	changedAfterSQL = `select user_id from changes where seq > ?1 order by seq limit ?2` // No row is missing in between.
	listedAfterSQL  = `select id from (select id from users where id > ?1 order by id limit ?2)
		union select id from (select id from user_names where id > ?1 order by id limit ?2)
		order by id limit ?2`
)

// namer keeps the index of names up to date. It follows the log, since other programs change
// names as well, and since trigrams cost as much as a third of an import, which can wait until
// there is less to write. Searches look themselves at what it has not seen yet.
type namer struct {
	writer *writer
	wake   *waker
	logger *slog.Logger
	close  func() // Closing twice is fine.
}

// newNamer starts a namer. It is to be closed before the waker and the writer are.
func newNamer(w *writer, wake *waker, logger *slog.Logger) *namer {
	n := &namer{writer: w, wake: wake, logger: logger}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { guard.Loop(ctx, logger, "index of names", func() { n.loop(ctx) }) })
	n.close = sync.OnceFunc(func() {
		stop()
		running.Wait()
		n.finish()
	})
	return n
}

func (n *namer) loop(ctx context.Context) {
	var head int64
	for ctx.Err() == nil {
		changed, leave := n.wake.enter()
		began := time.Now()
		state, err := n.step(namesStepTime)
		switch {
		case sqlite.ErrCode(err).ToPrimary() == sqlite.ResultBusy: // Another program writes.
			pause(ctx, namesInterval)
		case err != nil:
			n.logger.WarnContext(ctx, "searches by name are slower: their index cannot be written", "error", err)
			pause(ctx, namesRetry)
		case state.current():
			select {
			case <-changed:
			case <-ctx.Done():
			}
			pause(ctx, namesInterval)
		case state.head != head:
			pause(ctx, namesInterval)
		default:
			pause(ctx, namesRest(time.Since(began)))
		}
		leave()
		head = state.head
	}
}

// namesRest is the pause after a step that has taken some time.
func namesRest(step time.Duration) time.Duration {
	return max(0, step*namesShare/time.Duration(runtime.GOMAXPROCS(0))-step)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// finish follows the log to its end, so that what was deleted is gone from the index too.
func (n *namer) finish() {
	for giveUp := time.Now().Add(namesLast); time.Now().Before(giveUp); {
		if state, err := n.step(namesStepTime); err != nil || state.followed >= state.head {
			return
		}
	}
}

// step brings users up to date for some time, and returns how far the index has come then.
// It does not wait for other programs: writes would wait behind it.
func (n *namer) step(limit time.Duration) (state namesState, err error) {
	err = n.writer.betweenCommits(func(conn *sqlite.Conn) error {
		state, err = readNamesState(conn)
		if err != nil || state.current() {
			return err
		}
		defer n.writer.tellWritten()
		conn.SetBusyTimeout(0)
		defer conn.SetBusyTimeout(busyTimeout)
		return withoutWaitingForTheDisk(conn, func() error { return state.advance(conn, limit) })
	})
	return state, err
}

// withoutWaitingForTheDisk runs f, whose commits are on disk only with the next one after
// it: what the index loses in a crash it follows once more.
func withoutWaitingForTheDisk(conn *sqlite.Conn, f func() error) (err error) {
	defer func() { err = errors.Join(err, pragmas(conn, `synchronous = FULL`)) }()
	if err := pragmas(conn, `synchronous = NORMAL`); err != nil {
		return err
	}
	return f()
}

// advance follows the log, or else goes on through the users, in one transaction.
func (s *namesState) advance(conn *sqlite.Conn, limit time.Duration) (err error) {
	end, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		return err
	}
	defer end(&err)
	switch {
	case s.broken():
		s.followed, s.listed, s.complete, s.folding = s.head, "", false, store.Folding
		return exec(conn, relistSQL, s.followed, s.folding)
	case s.followed < s.head:
		return s.follow(conn, limit)
	}
	return s.list(conn, limit)
}

func (s *namesState) follow(conn *sqlite.Conn, limit time.Duration) error {
	done, end, err := indexNames(conn, changedAfterSQL, s.followed, limit)
	if err != nil {
		return err
	}
	if s.followed += int64(len(done)); end {
		s.followed = s.head
	}
	return exec(conn, followedSQL, s.followed)
}

func (s *namesState) list(conn *sqlite.Conn, limit time.Duration) error {
	done, end, err := indexNames(conn, listedAfterSQL, s.listed, limit)
	if err != nil {
		return err
	}
	if s.complete = end; end {
		return exec(conn, listedSQL, nil)
	}
	s.listed = done[len(done)-1]
	return exec(conn, listedSQL, s.listed)
}

// indexNames brings the users of a query up to date. It returns for which there was time,
// at least one, and whether there are no others.
func indexNames(conn *sqlite.Conn, query string, after any, limit time.Duration) (done []string, end bool, err error) {
	var ids []string
	err = sqlitex.Execute(conn, query, &sqlitex.ExecOptions{
		Args:       []any{after, namesStep},
		ResultFunc: func(stmt *sqlite.Stmt) error { ids = append(ids, stmt.ColumnText(0)); return nil },
	})
	if err != nil {
		return nil, false, err
	}
	for began := time.Now(); len(done) < len(ids) && (len(done) == 0 || time.Since(began) < limit); {
		if err := indexName(conn, ids[len(done)]); err != nil {
			return nil, false, err
		}
		done = ids[:len(done)+1]
	}
	return done, len(done) == len(ids) && len(ids) < namesStep, nil
}
