package cache

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

// What a zero Config means, and what is not configurable.
const (
	defaultTTL        = 5 * time.Minute
	defaultMaxEntries = 10_000
	defaultStaleness  = 2 * time.Second

	tombstoneTTL  = 30 * time.Second
	leaseTTL      = 2 * time.Second
	replayMargin  = 10 * time.Minute       // A lost watermark replays the log of TTL and this.
	scriptBatch   = 200                    // Changes in one script: Redis answers nobody else meanwhile.
	memoryBatch   = 8000                   // Changes that the memory of this process takes at a time.
	backendBudget = 100 * time.Millisecond // For all that a read asks of the backend.
	busyWait      = 25 * time.Millisecond  // For another's lease.
	applyBudget   = 50 * time.Millisecond
	storeBudget   = 10 * time.Second // For a read that several callers share.
)

// Config configures a Cache. The zero value is a cache in this process.
type Config struct {
	// Redis is the URL of a Redis 7 or newer: redis:// or rediss://
	// [user:password@]host[:port][/database]; with ?addr=host:port for each further
	// node it is a Cluster, with ?master_set=name the hosts are Sentinels, whose own
	// user is &sentinel_username=user&sentinel_password=password; unix:///path is a
	// socket. Default "": the cache is in this process.
	Redis string

	// TTL is how long a value is kept, at most. The change log must be kept for
	// longer than TTL and ten minutes. Default 5 minutes.
	TTL time.Duration

	// MaxEntries is how many entries this process holds, at most; with a Cluster,
	// from each of its nodes. Default 10,000.
	MaxEntries int

	// Staleness is X: how long after its commit a change may be invisible here, at
	// most. Servers on one store have the same. Default 2 seconds.
	Staleness time.Duration

	// Encode gives a user the form in which the cache keeps it, and Decode takes it
	// back. A user that has no such form cannot be read; no other is in its way.
	// Default: JSON.
	Encode func(store.User) ([]byte, error)
	Decode func([]byte) (store.User, error)

	// Logger gets a line at each change of state. It never gets a password or an
	// email. Default: slog.Default().
	Logger *slog.Logger

	// Now is the clock; only differences count, those of its monotonic and those of its
	// wall clock. Default: time.Now.
	Now func() time.Time

	// Observe is told of each call to Redis: its operation, and how it has ended. Default:
	// nobody is.
	Observe func(ctx context.Context, operation string) (context.Context, func(error))

	// Rand is the source of lease tokens. Default: crypto/rand.Reader.
	Rand io.Reader
}

func (c Config) withDefaults() Config {
	if c.TTL <= 0 {
		c.TTL = defaultTTL
	}
	if c.MaxEntries <= 0 {
		c.MaxEntries = defaultMaxEntries
	}
	if c.Staleness <= 0 {
		c.Staleness = defaultStaleness
	}
	if c.Encode == nil || c.Decode == nil {
		c.Encode, c.Decode = encodeJSON, decodeJSON
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return c
}

func encodeJSON(u store.User) ([]byte, error) { return json.Marshal(u) }

func decodeJSON(data []byte) (u store.User, err error) {
	err = json.Unmarshal(data, &u)
	return u, err
}

// Cache is a store whose reads come from memory. It is a store.Store; Lookup, LookupMany,
// LookupByEmail and LookupByExternalID are the same reads without decoding. All methods may
// be called concurrently.
type Cache struct {
	store.Store
	config  Config
	backend backend
	samples *samples
	floors  *floors
	flights flights
	elapsed *clock
	counts  counts
	errors  tally // Of Redis.

	ctx      context.Context // Ends with Close.
	cancel   context.CancelFunc
	wait     sync.WaitGroup
	closing  sync.Once
	closed   error
	beatNow  chan struct{}
	relayNow chan struct{}
	status   status
	relayed  atomic.Pointer[error] // Why the relay could not move all watermarks last.
}

var _ store.Store = (*Cache)(nil)

// New returns a cache over a store, which it closes with itself. It returns
// ErrRedisURL, and does not wait for Redis: until that is there, reads come from
// the store.
func New(s store.Store, config Config) (*Cache, error) {
	c, err := build(s, config)
	if err != nil {
		return nil, err
	}
	c.run()
	return c, nil
}

// build returns a cache that does nothing by itself yet.
func build(s store.Store, config Config) (*Cache, error) {
	config = config.withDefaults()
	c := &Cache{
		Store: s, config: config, floors: newFloors(),
		samples: &samples{covers: s.Covers},
		elapsed: newClock(config.Now),
		beatNow: make(chan struct{}, 1), relayNow: make(chan struct{}, 1),
	}
	c.flights.byKey = make(map[key]*flight)
	ttl := lifetimes{value: config.TTL, tombstone: min(tombstoneTTL, config.TTL), lease: leaseTTL}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if config.Redis == "" {
		c.backend = newMemory(c.clock, c.samples, config.MaxEntries, ttl)
		return c, nil
	}
	r, err := newRedis(config.Redis, s.Identity().Incarnation, c.clock, c.samples, config.MaxEntries, ttl)
	if err != nil {
		return nil, err
	}
	if config.Observe != nil {
		r.observe = config.Observe
	}
	r.tally, r.onLost, r.onWarning = &c.errors, c.lost, c.warn
	c.backend = r
	return c, nil
}

// run starts what a cache does by itself, until Close.
func (c *Cache) run() {
	c.keep("sample", c.sampleLoop)
	c.keep("pulse", c.pulseLoop)
	c.keep("relay", c.relayLoop)
}

// keep runs a loop until the cache is closed.
func (c *Cache) keep(name string, loop func()) {
	c.wait.Go(func() { guard.Loop(c.ctx, c.config.Logger, name, loop) })
}

// Close ends the cache and closes the store. Closing twice is fine.
func (c *Cache) Close() error {
	c.closing.Do(func() {
		c.cancel()
		c.wait.Wait()
		c.backend.close()
		c.closed = c.Store.Close()
	})
	return c.closed
}

// clock returns nanoseconds since the cache was made, never 0.
func (c *Cache) clock() int64 { return c.elapsed.read() }

// token returns 128 random bits.
func (c *Cache) token() (string, error) {
	var bits [16]byte
	if _, err := io.ReadFull(c.config.Rand, bits[:]); err != nil {
		return "", fmt.Errorf("lease token: %w", err)
	}
	return string(bits[:]), nil
}
