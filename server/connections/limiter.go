package connections

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/socket"
)

const (
	// leavingShare is the part of the connections that may, besides those that count, be
	// on their way to their end: a peer over HTTP/2 is told before it is closed.
	leavingShare = 16
	// acceptLogInterval is the least time between two lines about connections that cannot
	// be accepted.
	acceptLogInterval = 10 * time.Second
)

// Config says which connections there may be. Most and Logger must be set.
type Config struct {
	// Most is how many there may be at a time.
	Most int
	// Unread is how long something may wait on one to be read, and a little longer. Default:
	// for ever.
	Unread time.Duration
	// MaxAge is how old one may become, a tenth more or less, until its peer is told to open
	// another one. Default: as old as it likes.
	MaxAge time.Duration
	// Running ends when all that never ends by itself is to. MaxAge needs it.
	Running context.Context
	// TooOld is the cause for which calls end whose connection has reached MaxAge.
	TooOld error
	// TLS says that they begin with it.
	TLS bool
	// Logger takes what is said of connections.
	Logger *slog.Logger
}

// Limiter bounds how many connections are open, and counts them. When all are in use,
// the one that has been idle for the longest time is closed for one that comes; that is
// refused only where none is idle. An address may have more than half of them as long as
// nobody else needs them: then its own go first, those that are idle, or else, for one from
// elsewhere, the one that came last. So whoever has an address of his own gets in. A proxy
// is one address too; what its callers lose are idle connections, and it opens others.
type Limiter struct {
	config Config

	refused, evicted atomic.Int64
	looks            atomic.Int64 // At what waits, so far, and one.

	mu        sync.Mutex
	open      map[*connection]struct{}
	leaving   []*connection        // Were told to go, the first first.
	addresses map[netip.Prefix]int // How many of the open ones each has.
	heavy     netip.Prefix         // The last that has had more than half of them.
	count     uint64               // Of all that have ever come.
	logged    time.Time
	told      [starts]time.Time // When a line was written of each.
	timer     *time.Timer       // For the next look.
	looking   bool              // It is set.

	searching       sync.Mutex // Guards what is below; before mu, where both are locked.
	idle, heavyIdle search
	heavyLast       search
	searched        netip.Prefix // The address of the last two.
}

// New returns a limiter without connections.
func New(config Config) *Limiter {
	c := &Limiter{config: config, open: make(map[*connection]struct{}), addresses: make(map[netip.Prefix]int)}
	c.looks.Store(1)
	return c
}

// Listen returns a listener that takes the connections of inner within the bound.
func (c *Limiter) Listen(inner net.Listener) net.Listener {
	return limitedListener{inner, c}
}

var (
	connectionsOpen    = prometheus.NewDesc("userd_connections", "Connections that are open.", nil, nil)
	connectionsRefused = prometheus.NewDesc("userd_connections_refused_total", "Connections closed at once because too many were open.", nil, nil)
	connectionsEvicted = prometheus.NewDesc("userd_connections_evicted_total", "Connections closed, most of them idle, to make room for others.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *Limiter) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *Limiter) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	open := len(c.open) + len(c.leaving)
	c.mu.Unlock()
	out <- prometheus.MustNewConstMetric(connectionsOpen, prometheus.GaugeValue, float64(open))
	out <- prometheus.MustNewConstMetric(connectionsRefused, prometheus.CounterValue, float64(c.refused.Load()))
	out <- prometheus.MustNewConstMetric(connectionsEvicted, prometheus.CounterValue, float64(c.evicted.Load()))
}

type limitedListener struct {
	net.Listener
	connections *Limiter
}

func (l limitedListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			l.connections.logAccept(err)
			return nil, err
		}
		if conn := l.connections.admit(nc); conn != nil {
			conn.begin()
			return conn.counted(nc), nil
		}
		l.connections.refused.Add(1)
		_ = nc.Close() // Whether the refusal reaches the peer is the same to us.
	}
}

// logAccept says, now and then, that connections cannot be accepted: most often the
// process has as many files open as it may.
func (c *Limiter) logAccept(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); !errors.Is(err, net.ErrClosed) && now.Sub(c.logged) >= acceptLogInterval {
		c.logged = now
		c.config.Logger.Warn("a connection cannot be accepted", "cause", err.Error())
	}
}

// admit takes a connection, or returns nil where there is no room and none can be made.
func (c *Limiter) admit(nc net.Conn) *connection {
	conn := &connection{Conn: socket.Wrap(nc), connections: c, address: addressOf(nc)}
	conn.idleSince.Store(time.Now().UnixNano()) // Until it says something.
	for !c.add(conn) {
		victim := c.victim(conn.address)
		if victim == nil {
			return nil
		}
		if c.leave(victim) {
			c.evicted.Add(1)
			victim.evict()
		}
	}
	return conn
}

// add takes a connection if there is room.
func (c *Limiter) add(conn *connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.config.Most {
		return false
	}
	c.count++
	conn.number = c.count
	c.open[conn] = struct{}{}
	c.addresses[conn.address]++
	if c.isHeavy(conn.address) {
		c.heavy = conn.address
	}
	c.keepLooking()
	return true
}

// isHeavy reports whether an address has more than half of the connections. c.mu is held.
func (c *Limiter) isHeavy(address netip.Prefix) bool { return c.addresses[address] > c.config.Most/2 }

// leave makes an open connection one that is about to leave. When there are many of
// those, the first is closed without further ado.
func (c *Limiter) leave(conn *connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.forget(conn) {
		return false
	}
	c.leaving = append(c.leaving, conn)
	if len(c.leaving) > max(1, c.config.Most/leavingShare) {
		_ = c.leaving[0].Conn.Close() // It is closed properly by those who serve it.
		c.leaving = c.leaving[1:]
	}
	return true
}

// forget takes a connection from the open ones. c.mu is held.
func (c *Limiter) forget(conn *connection) bool {
	if _, ok := c.open[conn]; !ok {
		return false
	}
	delete(c.open, conn)
	if c.addresses[conn.address]--; c.addresses[conn.address] == 0 {
		delete(c.addresses, conn.address)
	}
	return true
}

// closed notes that a connection was closed.
func (c *Limiter) closed(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forget(conn) {
		return
	}
	if i := slices.Index(c.leaving, conn); i >= 0 {
		c.leaving = slices.Delete(c.leaving, i, i+1)
	}
}
