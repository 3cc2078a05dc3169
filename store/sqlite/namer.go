package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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
	// namesStep and namesStepTime are the most users of a step and how long it may take.
	namesStep, namesStepTime = 1000, 5 * time.Millisecond
	// firstNamesStep is the users of a step until one has been measured.
	firstNamesStep = 20
	// The steps take at most one part in namesShare of the time of all cores: where there is
	// one core, cached reads wait for each step as well.
	namesShare = 4
	// namesRetry is the time from a step that failed to the next.
	namesRetry = 5 * time.Second
	// namesLast is how long a store that is closed still follows the log.
	namesLast = time.Second
)

const (
	changedAfterSQL = `select user_id from changes where seq > ?1 order by seq limit ?2 + 0` // See changesSQL. No row is missing in between.
	listedAfterSQL  = `select id from (select id from users where id > ?1 order by id limit ?2 + 0)
		union select id from (select id from user_names where id > ?1 order by id limit ?2 + 0)
		order by id limit ?2 + 0`
)

// namer keeps the index of names up to date. It follows the log, since other programs change
// names as well, and since trigrams cost as much as a third of an import, which can wait until
// there is less to write. Searches look themselves at what it has not seen yet.
type namer struct {
	writer *writer
	wake   *waker
	logger *slog.Logger
	close  func() // Closing twice is fine.

	most int // How many users a step has, as far as is known; the writer's goroutine has it.
}

// newNamer starts a namer. It is to be closed before the waker and the writer are.
func newNamer(w *writer, wake *waker, logger *slog.Logger) *namer {
	n := &namer{writer: w, wake: wake, logger: logger, most: firstNamesStep}
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
		changed, leave := n.wake.room.Enter()
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
	return max(0, step*namesShare/time.Duration(spareProcessor.processors())-step)
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

// step brings as many users up to date as there is time for, judging by the steps before, and
// returns how far the index has come then. It does not wait for other programs: writes would
// wait behind it.
func (n *namer) step(limit time.Duration) (state namesState, err error) {
	err = n.writer.betweenCommits(func(conn *sqlite.Conn) error {
		state, err = readNamesState(conn)
		if err != nil || state.current() {
			return err
		}
		defer n.writer.tellWritten()
		conn.SetBusyTimeout(0)
		defer conn.SetBusyTimeout(busyTimeout)
		return withoutWaitingForTheDisk(conn, func() error {
			began := time.Now()
			users, err := state.advance(conn, n.most)
			n.learn(users, time.Since(began), limit)
			return err
		})
	})
	return state, err
}

// learn takes the time of a step. Most of it is spent where the transaction ends: the index
// finds and overwrites then what it is to lose.
func (n *namer) learn(users int, took, limit time.Duration) {
	if users == 0 || users < n.most && took <= limit {
		return // There were no others.
	}
	fit := float64(users) * float64(limit) / float64(max(took, time.Microsecond))
	n.most = int(max(1, min(fit, float64(2*n.most), namesStep)))
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

// advance follows the log, or else goes on through the users, in one transaction. It returns
// how many users it has brought up to date.
func (s *namesState) advance(conn *sqlite.Conn, most int) (users int, err error) {
	end, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		return 0, err
	}
	defer end(&err)
	switch {
	case s.broken():
		s.followed, s.listed, s.complete, s.folding = s.head, "", false, store.Folding
		return 0, exec(conn, relistSQL, s.followed, s.folding)
	case s.followed < s.head:
		return s.follow(conn, most)
	}
	return s.list(conn, most)
}

func (s *namesState) follow(conn *sqlite.Conn, most int) (users int, err error) {
	ids, err := indexNames(conn, changedAfterSQL, s.followed, most)
	if err != nil {
		return 0, err
	}
	if s.followed += int64(len(ids)); len(ids) < most {
		s.followed = s.head
	}
	return len(ids), exec(conn, followedSQL, s.followed)
}

func (s *namesState) list(conn *sqlite.Conn, most int) (users int, err error) {
	ids, err := indexNames(conn, listedAfterSQL, s.listed, most)
	if err != nil {
		return 0, err
	}
	if s.complete = len(ids) < most; s.complete {
		return len(ids), exec(conn, listedSQL, nil)
	}
	s.listed = ids[len(ids)-1]
	return len(ids), exec(conn, listedSQL, s.listed)
}

// indexNames brings the first users of a query up to date and returns who they are.
func indexNames(conn *sqlite.Conn, query string, after any, most int) (ids []string, err error) {
	err = sqlitex.Execute(conn, query, &sqlitex.ExecOptions{
		Args:       []any{after, most},
		ResultFunc: func(stmt *sqlite.Stmt) error { ids = append(ids, stmt.ColumnText(0)); return nil },
	})
	if err != nil {
		return nil, err
	}
	return ids, indexAll(conn, ids)
}

func indexAll(conn *sqlite.Conn, ids []string) error {
	var changes []nameChange
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		change, err := readNameChange(conn, id)
		if err != nil {
			return err
		}
		changes = append(changes, change)
	}
	slices.SortFunc(changes, inOrderOfRows)
	for _, change := range changes {
		if err := change.write(conn); err != nil {
			return err
		}
	}
	return nil
}
