package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
)

// Each of these statements reads the state of the log and rows of it in one
// snapshot: the one that pg_current_snapshot() returns inside it.
const (
	// restoredColumn is another where the database was restored, also to when it had the same
	// incarnation: tables that are made anew have other numbers.
	restoredColumn = `meta.incarnation || '/' || 'changes'::regclass::oid`

	// stateColumns are the restoredColumn, the snapshot, the last transaction that is
	// known to have written to the log, the last one that lost rows by pruning, and
	// the number of rows that were pruned.
	stateColumns = restoredColumn + `, pg_current_snapshot()::text,
		coalesce((select xid from changes order by xid desc limit 1), '0'),
		greatest(pruned_through, pruned_recent[cardinality(pruned_recent)]), pruned_rows`

	headSQL = `select ` + stateColumns + ` from meta`

	// The log is nearly in the order of time, so the place of a time is found by
	// halving: the rows up to low are older than $1. Each look is at the next row
	// there is, lest a few old ones that pruning has left stand for all it removed.
	placeSQL = `
		place (low, high) as (
			select (select seq - 1 from changes order by seq limit 1), (select seq from changes order by seq desc limit 1)
			union all
			select case when older then seq else low end, case when older then high else middle - 1 end
			from (select low, high, low + (high - low + 1) / 2 as middle from place where low < high) as halves,
				lateral (select seq, at < $1 as older from changes where seq >= middle order by seq limit 1) as next
		), found (low) as (
			select low from place where low >= high
		)`

	// The first transaction that has written to the log since $1.
	atSQL = `
		with recursive ` + placeSQL + `
		select ` + stateColumns + `,
			(select min(xid::text::bigint) from changes where seq > (select low from found))
		from meta`

	// The rows come from a subquery in the order of seq, which aggregates keep.
	pageColumns = `array_agg(seq), array_agg(user_id), array_agg(version), array_agg(kind = 'deleted'), array_agg(at)`

	// The changes at the ends of the log: a clock that was ahead or behind for a moment
	// may have made one of them, not a thousand.
	spanSQL = `
		select (select min(at) from (select at from changes order by seq limit 1000) as first),
			(select max(at) from (select at from changes order by seq desc limit 1000) as last), now()`

	// Removes $3 of the rows older than $2, which are among those up to the place
	// of $1.
	pruneSQL = `
		with recursive ` + placeSQL + `, gone as (
			delete from changes where seq in (
				select seq from changes where seq <= (select low from found) and at < $2 order by seq limit $3
			)
			returning seq, xid
		), xids as (
			select xid from gone union select unnest(pruned_recent) from meta
		)
		update meta set
			pruned_recent = array(select xid from (select xid from xids order by xid desc limit $4) recent order by xid),
			pruned_through = greatest(pruned_through, (select xid from xids order by xid desc offset $4 limit 1)),
			pruned_seq = greatest(pruned_seq, (select max(seq) from gone)),
			pruned_rows = pruned_rows + (select count(*) from gone)
		where exists (select from gone)
		returning (select count(*) from gone)`
)

var (
	// The first page after snapshot $1, of $2 rows. What is not visible in a
	// snapshot is above its end or was running. "seq + 0" keeps the planner from
	// looking for a few new rows by walking all old ones in the order of seq.
	firstPageSQL = `
		with fresh as (
			select * from changes where xid >= pg_snapshot_xmax($1)
			union all
			select * from changes where xid = any (array(select pg_snapshot_xip($1)))
		), page as (
			select * from fresh order by seq + 0 limit $2
		)
		select ` + stateColumns + `, ` + expired("$1") + `, page.*
		from meta, (select ` + pageColumns + ` from page) as page`

	// The page of $2 rows after seq $4 of those that are visible in snapshot $3,
	// null for the present one, and not in $1. What had been pruned when the first
	// page was read, $5 rows, is not missed: that page has seen to it, unless it
	// started with a seq below 0, at the oldest row that is kept.
	nextPageSQL = `
		with page as (
			select * from changes
			where seq > $4 and not pg_visible_in_snapshot(xid, $1)
				and pg_visible_in_snapshot(xid, coalesce($3::pg_snapshot, pg_current_snapshot()))
			order by seq limit $2
		)
		select ` + stateColumns + `,
			$4 >= 0 and pruned_rows > $5 and (` + expired("$3") + ` or pruned_seq > $4 and ` + expired("$1") + `), page.*
		from meta, (select ` + pageColumns + ` from page) as page`
)

// expired is an SQL condition: rows have been pruned that are not visible in a
// snapshot. They are those of a transaction in pruned_recent, or of one up to
// pruned_through that is above the snapshot, or was running in it and has ended. The
// last is on the safe side: a transaction of any database of the server that was open
// for longer than changes are kept may have lost rows or may never have had one.
func expired(snapshot string) string {
	return strings.ReplaceAll(`(
		pruned_through >= pg_snapshot_xmax(SNAPSHOT)
		or exists (select from unnest(pruned_recent) as xid where not pg_visible_in_snapshot(xid, SNAPSHOT))
		or exists (
			select from pg_snapshot_xip(SNAPSHOT) as xid
			where xid <= pruned_through and pg_visible_in_snapshot(xid, pg_current_snapshot())
		)
	)`, "SNAPSHOT", snapshot)
}

// log is what the statements above return.
type log struct {
	head    snapshot // The present.
	written uint64   // Last transaction that is known to have written to the log.
	pruned  uint64   // Last transaction that lost rows by pruning; 0 for none.
	gone    int64    // Rows that were pruned.
	expired bool
	first   *uint64 // First transaction that has written to the log since a time; nil for none.
	seqs    []int64
	changes []store.Change
}

// present is the snapshot up to which a cursor may go.
func (l log) present(since snapshot) snapshot {
	return l.head.upTo(max(l.written, l.pruned, since.xmax-1))
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context) (store.Cursor, error) {
	l, err := s.readLog(ctx, headSQL, nil)
	if err != nil {
		return "", fmt.Errorf("read head of changes: %w", err)
	}
	return s.format(cursor{done: l.present(earliest)}), nil
}

// Changes implements store.Store.
func (s *Store) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	from, ok := cursor{done: earliest, seq: -1}, true
	if after != store.Earliest {
		from, ok = s.parse(after)
	}
	if !ok {
		return nil, "", fmt.Errorf("read changes: %w", store.ErrInvalidCursor)
	}
	l, err := s.readPage(ctx, from, limit)
	if err == nil && (l.expired || from.done.xmax > l.head.xmax) {
		// A cursor from the future was made by a primary whose last commits are lost.
		err = store.ErrCursorExpired
	}
	if err != nil {
		return nil, "", fmt.Errorf("read changes: %w", err)
	}
	next := from
	if from.goal == nil {
		next.goal, next.gone = new(l.present(from.done)), l.gone
	}
	if len(l.changes) <= limit {
		return l.changes, s.format(cursor{done: *next.goal}), nil
	}
	next.seq = l.seqs[limit-1]
	return l.changes[:limit], s.format(next), nil
}

// readPage reads limit changes after a cursor, and one more if there is one.
func (s *Store) readPage(ctx context.Context, from cursor, limit int) (log, error) {
	done := from.done.String()
	if from.goal == nil && from.seq == 0 {
		return s.readLog(ctx, firstPageSQL, scanPage, done, limit+1)
	}
	var goal *string
	if from.goal != nil {
		goal = new(from.goal.String())
	}
	return s.readLog(ctx, nextPageSQL, scanPage, done, limit+1, goal, from.seq, from.gone)
}

// readLog runs one of the statements above. more says where to put the columns
// after the state, and what to do when they are there.
func (s *Store) readLog(ctx context.Context, sql string, more func(*log) ([]any, func()), args ...any) (log, error) {
	return read(ctx, s, func(ctx context.Context, on *session) (l log, err error) {
		var restored, head string
		targets, done := []any{&restored, &head, &l.written, &l.pruned, &l.gone}, func() {}
		if more != nil {
			var further []any
			further, done = more(&l)
			targets = append(targets, further...)
		}
		if err := on.QueryRow(ctx, sql, args...).Scan(targets...); err != nil {
			return l, err
		}
		done()
		var ok bool
		if l.head, ok = parseSnapshot(head); !ok || restored != s.restored {
			return l, errRestored
		}
		return l, nil
	})
}

func scanPage(l *log) (targets []any, done func()) {
	var ids [][16]byte
	var versions []int64
	var deleted []bool
	var ats []time.Time
	return []any{&l.expired, &l.seqs, &ids, &versions, &deleted, &ats}, func() {
		for i, id := range ids {
			kind := store.Upserted
			if deleted[i] {
				kind = store.Deleted
			}
			l.changes = append(l.changes, store.Change{UserID: uuid.UUID(id).String(), Version: versions[i], Kind: kind, At: ats[i].UTC()})
		}
	}
}

// disorder is how far the times of changes may be from the order of seq: servers
// have clocks of their own, and a statement that waits for another one is late.
const disorder = 5 * time.Minute

// At implements store.Store.
func (s *Store) At(ctx context.Context, t time.Time) (store.Cursor, error) {
	l, err := s.readLog(ctx, atSQL, func(l *log) ([]any, func()) { return []any{&l.first}, func() {} }, t.Add(-disorder))
	if err != nil {
		return "", fmt.Errorf("find changes since %s: %w", t, err)
	}
	start := l.present(earliest)
	if l.first != nil && *l.first <= l.pruned {
		return store.Earliest, nil
	}
	if l.first != nil {
		start = start.upTo(*l.first - 1)
	}
	return s.format(cursor{done: start}), nil
}

// Covers implements store.Store.
func (s *Store) Covers(cursor, other store.Cursor) bool {
	a, okA := s.parse(cursor)
	b, okB := s.parse(other)
	return okA && okB && a.covers(b)
}

// Wait implements store.Store.
func (s *Store) Wait(ctx context.Context, after store.Cursor) error {
	changed, leave := s.wake.room.Enter()
	defer leave()
	head, err := s.Head(ctx)
	if err != nil {
		return err
	}
	if !s.Covers(after, head) {
		return nil
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Span implements store.Store.
func (s *Store) Span(ctx context.Context) (store.Span, error) {
	span, err := read(ctx, s, func(ctx context.Context, on *session) (span store.Span, err error) {
		var oldest, newest *time.Time
		err = on.QueryRow(ctx, spanSQL).Scan(&oldest, &newest, &span.Now)
		span.Now = span.Now.UTC()
		if oldest != nil {
			span.Oldest, span.Newest = oldest.UTC(), newest.UTC()
		}
		return span, err
	})
	if err != nil {
		return store.Span{}, fmt.Errorf("read span of changes: %w", err)
	}
	return span, nil
}

// Prune implements store.Store.
func (s *Store) Prune(ctx context.Context, before time.Time) (int64, error) {
	const step = 1000
	var total int64
	for {
		pruned, err := writeTx(ctx, s, func(ctx context.Context, on *session) (pruned int64, err error) {
			err = on.transact(ctx, func(ctx context.Context, tx pgx.Tx) error {
				pruned, err = prune(ctx, tx, before, step)
				return err
			})
			return pruned, err
		})
		if err != nil {
			return total, fmt.Errorf("prune changes: %w", err)
		}
		total += pruned
		if pruned < step {
			return total, nil
		}
	}
}

// prune removes up to limit of the oldest changes.
func prune(ctx context.Context, tx pgx.Tx, before time.Time, limit int) (pruned int64, err error) {
	const recent = 256 // Transactions that are remembered one by one.
	// Two that prune at once would each forget what the other has removed.
	if _, err := tx.Exec(ctx, `select from meta for update`); err != nil {
		return 0, err
	}
	err = tx.QueryRow(ctx, pruneSQL, before.Add(disorder), before, limit, recent).Scan(&pruned)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return pruned, err
}
