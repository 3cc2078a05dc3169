package sqlite

import (
	"context"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
)

const (
	headSQL   = `select ifnull((select seq from sqlite_sequence where name = 'changes'), 0)`
	prunedSQL = `select pruned from meta`
	// SQLite prepares a statement again each time that the parameter of its limit is bound, unless
	// that is part of an expression. It took as long as reading a few changes.
	changesSQL = `select seq, user_id, version, kind, at from changes where seq > ?1 order by seq limit ?2 + 0`
	// The changes at the ends of the log: a clock that was ahead or behind for a moment
	// may have made one of them, not a thousand.
	spanSQL = `
		select ifnull((select min(at) from (select at from changes order by seq limit 1000)), 0),
			ifnull((select max(at) from (select at from changes order by seq desc limit 1000)), 0)`
	pruneSQL    = `delete from changes where seq <= ?1`
	prunedToSQL = `update meta set pruned = ?1`

	// clockSlack is how far the clocks of two processes that write to one file may
	// be apart, in microseconds.
	clockSlack = int64(time.Minute / time.Microsecond)
)

// Head implements store.Store.
func (s *Store) Head(ctx context.Context) (store.Cursor, error) {
	head, err := s.head(ctx)
	if err != nil {
		return "", fmt.Errorf("read head of changes: %w", err)
	}
	return s.format(head), nil
}

func (s *Store) head(ctx context.Context) (head int64, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		head, err = scalar(conn, headSQL)
		return err
	})
	return head, err
}

// Changes implements store.Store.
func (s *Store) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	seq, ok := s.parse(after)
	if !ok {
		return nil, "", fmt.Errorf("read changes: %w", store.ErrInvalidCursor)
	}
	var changes []store.Change
	next := seq
	err := s.snapshot(ctx, func(conn *sqlite.Conn) (err error) {
		if next, err = start(conn, after, seq); err != nil {
			return err
		}
		changes, next, err = readChanges(conn, next, limit)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read changes: %w", err)
	}
	return changes, s.format(next), nil
}

// start is the row of the log after which a cursor goes on.
func start(conn *sqlite.Conn, after store.Cursor, seq int64) (int64, error) {
	pruned, err := scalar(conn, prunedSQL)
	if err != nil || after == store.Earliest {
		return pruned, err
	}
	head, err := scalar(conn, headSQL)
	switch {
	case err != nil:
		return 0, err
	case seq < pruned:
		return 0, store.ErrCursorExpired
	case seq > head:
		return 0, store.ErrInvalidCursor
	}
	return seq, nil
}

// readChanges reads the rows after seq, and returns the last one's seq with them.
func readChanges(conn *sqlite.Conn, seq int64, limit int) ([]store.Change, int64, error) {
	var changes []store.Change
	err := sqlitex.Execute(conn, changesSQL, &sqlitex.ExecOptions{
		Args: []any{seq, limit},
		ResultFunc: func(stmt *sqlite.Stmt) error {
			seq = stmt.ColumnInt64(0)
			changes = append(changes, store.Change{
				UserID:  stmt.ColumnText(1),
				Version: stmt.ColumnInt64(2),
				Kind:    store.Kind(stmt.ColumnInt64(3)),
				At:      timeOf(stmt.ColumnInt64(4)),
			})
			return nil
		},
	})
	return changes, seq, err
}

// At implements store.Store. The log is in the order of time, so the place is
// found by halving.
func (s *Store) At(ctx context.Context, t time.Time) (store.Cursor, error) {
	var low int64
	err := s.snapshot(ctx, func(conn *sqlite.Conn) error {
		pruned, err := scalar(conn, prunedSQL)
		if err != nil {
			return err
		}
		high, err := scalar(conn, headSQL)
		if err != nil {
			return err
		}
		low = pruned // All changes up to low are before t, or gone.
		for low < high {
			middle := low + (high-low+1)/2
			at, err := scalar(conn, `select at from changes where seq <= ?1 order by seq desc limit 1`, middle)
			if err != nil {
				return err
			}
			if at+clockSlack < t.UnixMicro() {
				low = middle
			} else {
				high = middle - 1
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("find changes since %s: %w", t, err)
	}
	return s.format(low), nil
}

// Covers implements store.Store.
func (s *Store) Covers(cursor, other store.Cursor) bool {
	if cursor == store.Earliest || other == store.Earliest {
		return false // Where that is changes with time.
	}
	a, okA := s.parse(cursor)
	b, okB := s.parse(other)
	return okA && okB && a >= b
}

// Wait implements store.Store.
func (s *Store) Wait(ctx context.Context, after store.Cursor) error {
	changed, leave := s.wake.room.Enter()
	defer leave()
	head, err := s.head(ctx)
	if err != nil {
		return fmt.Errorf("wait for changes: %w", err)
	}
	if seq, ok := s.parse(after); !ok || seq != head {
		return nil
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Span implements store.Store. The database's clock is this process's.
func (s *Store) Span(ctx context.Context) (store.Span, error) {
	span := store.Span{Now: s.now().UTC()}
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, spanSQL, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
			if oldest := stmt.ColumnInt64(0); oldest != 0 {
				span.Oldest, span.Newest = timeOf(oldest), timeOf(stmt.ColumnInt64(1))
			}
			return nil
		}})
	})
	if err != nil {
		return store.Span{}, fmt.Errorf("read span of changes: %w", err)
	}
	return span, nil
}

// Prune implements store.Store.
func (s *Store) Prune(ctx context.Context, before time.Time) (int64, error) {
	const most = 1000
	var total int64
	for {
		step := most
		if rows := s.writer.rows(); rows > 0 {
			step = min(rows, most)
		}
		var removed int64
		err := s.writeMany(ctx, 0, func(conn *sqlite.Conn) (err error) { // Few of them are as much as one of a user.
			removed, err = prune(conn, before, step)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("prune changes: %w", err)
		}
		total += removed
		if removed < int64(step) {
			return total, nil
		}
	}
}

// prune removes up to limit of the oldest changes.
func prune(conn *sqlite.Conn, before time.Time, limit int) (int64, error) {
	pruned, err := scalar(conn, prunedSQL)
	if err != nil {
		return 0, err
	}
	oldest, _, err := readChanges(conn, pruned, limit)
	if err != nil {
		return 0, err
	}
	last := pruned
	for _, change := range oldest {
		if !change.At.Before(before) {
			break
		}
		last++
	}
	if last == pruned {
		return 0, nil
	}
	if err := exec(conn, pruneSQL, last); err != nil {
		return 0, err
	}
	return last - pruned, exec(conn, prunedToSQL, last)
}
