package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

const (
	reapInterval = time.Second
	// silentTime is how long a session may wait for its server in the middle of a write
	// until it is ended.
	silentTime = 2500 * time.Millisecond
)

// silentSQL finds sessions of servers that wait for their server in the middle of a
// statement that writes, with what changes as soon as one of them hears from it.
const silentSQL = `
	select pid, concat_ws(' ', extract(epoch from backend_start), extract(epoch from query_start), wait_event, bytes_processed) as sign
	from pg_stat_activity left join pg_stat_progress_copy using (pid)
	where pg_stat_activity.datname = current_database() and usename = session_user
		and application_name = current_setting('application_name') and pid <> pg_backend_pid()
		and backend_xid is not null and state = 'active' and wait_event_type = 'Client'`

const endSilentSQL = `select pg_terminate_backend(pid) from (` + silentSQL + `) as silent where pid = $1::bigint and sign = $2`

// reaper ends the sessions of servers that have fallen silent in the middle of a write:
// frozen, or cut off, while they were sending the rows of an import. Their locks would
// stop the writes of all others. PostgreSQL ends transactions that are idle between two
// statements, but has no limit for this.
type reaper struct {
	store *Store
	stop  context.CancelFunc
	done  sync.WaitGroup
	seen  map[uint32]silence // By process.
}

// silence is what a look at a session has found.
type silence struct {
	sign  string
	since time.Time
}

func newReaper(s *Store) *reaper {
	ctx, stop := context.WithCancel(context.Background())
	r := &reaper{store: s, stop: stop}
	r.done.Go(func() { guard.Loop(ctx, s.log, "reap", func() { r.loop(ctx) }) })
	return r
}

// close ends the goroutine. Closing twice is fine.
func (r *reaper) close() {
	r.stop()
	r.done.Wait()
}

func (r *reaper) loop(ctx context.Context) {
	for pause(ctx, reapInterval) {
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			r.store.log.DebugContext(ctx, "look for silent sessions", "error", err)
		}
	}
}

// look ends the sessions that have been silent for too long.
func (r *reaper) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(store.Vital(ctx), pollTimeout)
	defer cancel()
	silent, err := read(ctx, r.store, findSilent)
	if err != nil {
		return err
	}
	r.seen = stillSilent(r.seen, silent)
	for process, silence := range r.seen {
		if time.Since(silence.since) >= silentTime {
			if err := r.end(ctx, process, silence.sign); err != nil {
				return err
			}
		}
	}
	return nil
}

// stillSilent is since when the sessions that are silent have been so.
func stillSilent(before map[uint32]silence, signs map[uint32]string) map[uint32]silence {
	now := make(map[uint32]silence, len(signs))
	for process, sign := range signs {
		if now[process] = before[process]; now[process].sign != sign {
			now[process] = silence{sign, time.Now()}
		}
	}
	return now
}

func findSilent(ctx context.Context, on *session) (map[uint32]string, error) {
	silent := make(map[uint32]string)
	rows, _ := on.Query(ctx, silentSQL)
	var process uint32
	var sign string
	_, err := pgx.ForEachRow(rows, []any{&process, &sign}, func() error {
		silent[process] = sign
		return nil
	})
	return silent, err
}

// end ends a session that is still silent.
func (r *reaper) end(ctx context.Context, process uint32, sign string) error {
	ended, err := read(ctx, r.store, func(ctx context.Context, on *session) (ended bool, err error) {
		err = on.QueryRow(ctx, endSilentSQL, int64(process), sign).Scan(&ended)
		if errors.Is(err, pgx.ErrNoRows) {
			return false, nil
		}
		return ended, err
	})
	if ended {
		r.store.log.WarnContext(ctx, "ended the session of a server that has fallen silent in the middle of a write", "process", process)
	}
	return err
}
