package sqlite

import (
	"context"
	"sync/atomic"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store/stats"
)

// Stats returns how busy the store is.
func (s *Store) Stats() stats.Store {
	schema, _ := wanted() // Open has read it, too.
	return stats.Store{
		Schema: schema.Wanted,
		Calls:  s.readers.stats(), Vital: s.vital.stats(), Pages: s.pages.Snapshot(),
		Writer: &stats.Writer{Small: len(s.writer.queue), Bulk: len(s.writer.bulk), Groups: s.writer.groups.Snapshot()},
	}
}

// pool is connections for reading. It counts who has one and who waits for one.
type pool struct {
	*sqlitex.Pool
	size           int
	inUse, waiting atomic.Int64
}

func (p *pool) take(ctx context.Context) (*sqlite.Conn, error) {
	p.waiting.Add(1)
	conn, err := p.Take(ctx)
	p.waiting.Add(-1)
	if err == nil {
		p.inUse.Add(1)
	}
	return conn, err
}

func (p *pool) put(conn *sqlite.Conn) {
	p.Put(conn)
	p.inUse.Add(-1)
}

func (p *pool) stats() stats.Pool {
	inUse := int(p.inUse.Load())
	return stats.Pool{Max: p.size, InUse: inUse, Idle: max(0, p.size-inUse), Waiting: int(p.waiting.Load())}
}
