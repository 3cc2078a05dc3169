package postgres

import "github.com/example/userd/store/stats"

// Stats returns how busy the store is.
func (s *Store) Stats() stats.Store {
	return stats.Store{
		Schema: schemaVersion, Calls: s.pool.stats(), Vital: s.vital.stats(), Pages: s.pages.Snapshot(),
	}
}

func (c *connections) stats() stats.Pool {
	now := c.Stat()
	return stats.Pool{
		Max: int(now.MaxConns()), InUse: int(now.AcquiredConns()), Idle: int(now.IdleConns()), Waiting: int(c.waiting.Load()),
	}
}
