package postgres

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"github.com/example/userd/store/guard"
)

// connections is a pool whose calls share the connections that there are where the database
// has no room for more: others have them, so that nobody can say how many it will take.
type connections struct {
	*pgxpool.Pool
	log     *slog.Logger
	seats   *semaphore.Weighted // One for each connection that the pool may have.
	waiting atomic.Int64        // Calls that wait for a seat or a connection.
	refused atomic.Int64        // When the database last had no room, in Unix nanoseconds.
	lost    sync.WaitGroup      // Of connections that are not the pool's any more.
}

// withheld is how long it is not tried again whether there is room for a connection.
const withheld = 5 * time.Second

func newConnections(pool *pgxpool.Pool, log *slog.Logger) *connections {
	return &connections{Pool: pool, log: log, seats: semaphore.NewWeighted(int64(pool.Config().MaxConns))}
}

// take takes a connection for a call, which must give it back.
func (c *connections) take(ctx context.Context) (*pgxpool.Conn, error) {
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	for {
		if err := c.seats.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		conn, err := c.Acquire(ctx)
		switch {
		case err == nil:
			return conn, nil
		case !hasCode(err, tooManyConnections) || c.none():
			c.seats.Release(1)
			return nil, err
		}
		c.withhold()
	}
}

// giveBack gives back what take has returned.
func (c *connections) giveBack(conn *pgxpool.Conn) {
	if lost := conn.Conn(); lost.IsClosed() {
		c.lost.Add(1)
		conn.Hijack() // Until it was cleaned up, the pool would take it for one to wait for.
		go func() {
			defer c.lost.Done()
			<-lost.PgConn().CleanupDone()
		}()
	} else {
		conn.Release()
	}
	c.seats.Release(1)
}

// Close closes all connections, and returns when they are.
func (c *connections) Close() {
	c.Pool.Close()
	c.lost.Wait()
}

// none reports whether there is no connection to wait for.
func (c *connections) none() bool {
	now := c.Stat()
	return now.AcquiredConns()+now.IdleConns() == 0
}

// withhold keeps the seat of a call that has found no room for its connection from others.
func (c *connections) withhold() {
	now := time.Now()
	if last := time.Unix(0, c.refused.Swap(now.UnixNano())); now.Sub(last) > time.Minute {
		c.log.Warn("the database has no room for all connections of the pool: calls share those that there are; raise max_connections, or set a lower pool_max_conns in --database",
			"connections", c.Stat().TotalConns(), "pool_max_conns", c.Config().MaxConns)
	}
	guard.Timer(withheld, func() { c.seats.Release(1) })
}
