package postgres

import (
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/example/userd/store/stats"
)

// Stats returns how busy the store is.
func (s *Store) Stats() stats.Store {
	return stats.Store{
		Schema: schemaVersion, Calls: poolStats(s.pool, &s.waiting[0]), Vital: poolStats(s.vital, &s.waiting[1]), Pages: s.pages.Snapshot(),
	}
}

func poolStats(pool *pgxpool.Pool, waiting *atomic.Int64) stats.Pool {
	now := pool.Stat()
	return stats.Pool{
		Max: int(now.MaxConns()), InUse: int(now.AcquiredConns()), Idle: int(now.IdleConns()), Waiting: int(waiting.Load()),
	}
}
