package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/example/userd/store"
	"github.com/example/userd/store/stats"
)

// Config says where a store is. Everything but URL has a default.
type Config struct {
	// URL is a connection URL or string as libpq reads it, with several hosts,
	// TLS and target_session_attrs, and pgxpool's settings (pool_max_conns, ...).
	// What it leaves out comes from the PG* environment variables, then from
	// these defaults: target_session_attrs=read-write, connect_timeout=2 (seconds),
	// pool_max_conns=16. Calls that are marked by store.Vital have two connections
	// beside those.
	URL string
	// Logger receives what no caller is told; slog.Default() when nil.
	Logger *slog.Logger
	// Now is the clock of every time that is stored; time.Now when nil.
	Now func() time.Time
	// PollInterval is the time between two looks for changes of other processes;
	// 100 ms when 0.
	PollInterval time.Duration
}

// What holds where the URL says nothing else.
const (
	connectTimeout = 2 * time.Second
	pingTimeout    = time.Second
	maxConns       = 16
	vitalConns     = 2
	toolConns      = 2 // For a migration: one has the turn, one works.
)

// Store is a store of users in PostgreSQL.
type Store struct {
	pool     *connections // For callers.
	vital    *connections // For calls that are marked by store.Vital.
	sessions sessions
	log      *slog.Logger
	now      func() time.Time
	identity store.Identity
	restored string // The restoredColumn as it was at the start.
	wake     *waker
	reap     *reaper
	causes   store.Causes
	pages    stats.Plans

	importsCollide atomic.Bool   // The last import had rows that were taken.
	byContentTime  time.Duration // See the constant.
	inVain         store.InVain[content]

	mu   sync.Mutex
	last int64 // Latest tick, in microseconds.
}

var _ store.Store = (*Store)(nil)

// Open opens the store at config.URL. The database must have the schema of this
// program: Open returns the error of Schema.Check when it does not, and
// store.ErrUnavailable when the database cannot be reached.
func Open(ctx context.Context, config Config) (*Store, error) {
	s := &Store{log: config.Logger, now: config.Now, byContentTime: byContentTime}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.causes.Logger = s.log
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.connect(ctx, config); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.prepare(ctx); err != nil {
		s.disconnect()
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.wake, s.reap = newWaker(s, config.PollInterval), newReaper(s)
	return s, nil
}

// connect makes the pools.
func (s *Store) connect(ctx context.Context, config Config) error {
	pool, err := config.pool(&s.sessions)
	if err != nil {
		return err
	}
	if s.pool, err = s.reach(ctx, pool); err != nil {
		return err
	}
	pool.MaxConns = vitalConns
	pool.MinConns, pool.MinIdleConns = min(pool.MinConns, vitalConns), min(pool.MinIdleConns, vitalConns)
	if s.vital, err = s.reach(ctx, pool); err != nil {
		s.pool.Close()
	}
	return err
}

// reach is the function reach for the pools of a store.
func (s *Store) reach(ctx context.Context, config *pgxpool.Config) (*connections, error) {
	pool, err := reach(ctx, config)
	if err != nil {
		return nil, err
	}
	return newConnections(pool, s.log), nil
}

func (s *Store) disconnect() {
	s.pool.Close()
	s.vital.Close()
}

// prepare checks the schema and reads the identity.
func (s *Store) prepare(ctx context.Context) error {
	schema, _, err := readSchema(ctx, s.pool)
	if err != nil {
		return err
	}
	if err := schema.Check(); err != nil {
		return err
	}
	if err := adopt(ctx, s.pool.Pool, s.log); err != nil {
		return translate(ctx, err)
	}
	var secret []byte
	err = s.pool.QueryRow(ctx, `select incarnation, secret, `+restoredColumn+` from meta`).Scan(&s.identity.Incarnation, &secret, &s.restored)
	if err != nil {
		return translate(ctx, err)
	}
	if copy(s.identity.Secret[:], secret) != len(s.identity.Secret) {
		return fmt.Errorf("the store's secret has %d bytes", len(secret))
	}
	return nil
}

// connectAlone makes a pool for a tool.
func (c Config) connectAlone(ctx context.Context) (*pgxpool.Pool, error) {
	pool, err := c.pool(new(sessions))
	if err != nil {
		return nil, err
	}
	pool.MaxConns = max(toolConns, pool.MaxConns)
	return reach(ctx, pool)
}

// pool is the configuration of a pool with our defaults.
func (c Config) pool(sessions *sessions) (*pgxpool.Config, error) {
	config, err := c.parse()
	if err != nil {
		return nil, err
	}
	conn := &config.ConnConfig.Config
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = connectTimeout
	}
	if conn.ValidateConnect == nil {
		conn.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "userd"
	}
	conn.RuntimeParams["client_encoding"] = "UTF8" // Whatever the role or the database would have.
	conn.DialFunc = dial
	if !strings.Contains(c.URL, "pool_max_conns") {
		config.MaxConns = max(maxConns, config.MaxConns)
	}
	if config.PingTimeout == 0 {
		config.PingTimeout = pingTimeout
	}
	config.BeforeConnect, config.AfterConnect = sessions.beforeConnect, sessions.afterConnect
	return config, nil
}

// reach makes a pool and its first connection, which learns whether there is a pooler.
func reach(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, config.Copy())
	if err != nil {
		return nil, err
	}
	err = pool.Ping(ctx)
	if errors.Is(err, poolerError{}) {
		err = pool.Ping(ctx)
	}
	if err == nil {
		return pool, nil
	}
	pool.Close()
	if refused := refusal(""); errors.As(err, &refused) {
		return nil, refused
	}
	return nil, translate(ctx, err)
}

// Capacity implements store.Store.
func (s *Store) Capacity() store.Capacity {
	return store.Capacity{Reads: int(s.pool.Config().MaxConns)}
}

// Identity implements store.Store.
func (s *Store) Identity() store.Identity { return s.identity }

// Ping implements store.Store. A server that does not let us write is no answer.
func (s *Store) Ping(ctx context.Context) error {
	_, err := read(store.Vital(ctx), s, func(ctx context.Context, on *session) (readOnly bool, err error) {
		err = on.QueryRow(ctx, `select current_setting('transaction_read_only')::boolean`).Scan(&readOnly)
		if err == nil && readOnly {
			err = errReadOnly
		}
		return readOnly, err
	})
	return err
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.reap.close()
	s.wake.close()
	s.disconnect()
	return nil
}

// poolOf is the pool for a call.
func (s *Store) poolOf(ctx context.Context) *connections {
	if store.IsVital(ctx) {
		return s.vital
	}
	return s.pool
}

// tick returns the time now as it is stored, but later than any tick of this store
// before: users are in the order of their creation.
func (s *Store) tick() time.Time { return s.ticks(1) }

// ticks returns the first of n ticks, a microsecond apart.
func (s *Store) ticks(n int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := max(s.now().UnixMicro(), s.last+1)
	s.last = first + int64(n) - 1
	return time.UnixMicro(first).UTC()
}
