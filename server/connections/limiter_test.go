package connections

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// caller is the end of a connection that a test accepts.
type caller struct {
	net.Conn
	address string
	closed  atomic.Bool
}

func (c *caller) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.address), 1))
}

func (c *caller) Close() error {
	c.closed.Store(true)
	return nil
}

// callers is a listener whose connections a test makes.
type callers struct {
	net.Listener
	waiting []*caller
	err     error
}

func (l *callers) Accept() (net.Conn, error) {
	if len(l.waiting) == 0 {
		return nil, l.err
	}
	next := l.waiting[0]
	l.waiting = l.waiting[1:]
	return next, nil
}

// opened is a connection as its server has it, and its caller.
type opened struct {
	net.Conn
	caller *caller
}

// bounded lets callers connect to a server with a bound.
type bounded struct {
	*Limiter
	t   *testing.T
	log bytes.Buffer
}

func newBounded(t *testing.T, most int) *bounded {
	t.Helper()
	b := &bounded{t: t}
	b.Limiter = New(Config{Most: most, Logger: slog.New(slog.NewTextHandler(&b.log, nil))})
	return b
}

// connect returns nil for a connection that is refused.
func (b *bounded) connect(address string) *opened {
	b.t.Helper()
	time.Sleep(time.Second) // Of a clock that does not go otherwise.
	c := &caller{address: address}
	conn, err := b.Listen(&callers{waiting: []*caller{c}, err: net.ErrClosed}).Accept()
	if err != nil {
		if !c.closed.Load() {
			b.t.Error("a connection is neither accepted nor closed")
		}
		return nil
	}
	return &opened{conn, c}
}

// begin and end are a request of net/http.
func (o *opened) begin() { SetIdle(o.Conn, false) }
func (o *opened) end()   { SetIdle(o.Conn, true) }

func (b *bounded) checkClosed(want bool, which string, o *opened) {
	b.t.Helper()
	if closed := o.caller.closed.Load(); closed != want {
		b.t.Errorf("the connection that %s is closed: %v, want %v", which, closed, want)
	}
}

// When all connections are in use, the one that has been idle for the longest time makes
// room, whenever it came.
func TestLongestIdleMakesRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBounded(t, 4)
		first, second, third := b.connect("10.0.0.1"), b.connect("10.0.0.2"), b.connect("10.0.0.3")
		silent := b.connect("10.0.0.4")
		for _, conn := range []*opened{second, first, third} {
			conn.begin()
			time.Sleep(time.Second)
			conn.end()
		}
		third.begin()
		for i, goes := range []*opened{silent, second, first} {
			b.checkClosed(false, "goes next", goes)
			if next := b.connect("10.1.0." + string(rune('1'+i))); next == nil {
				t.Error("there is room, and none for a connection")
			} else {
				next.begin()
			}
			b.checkClosed(true, "was idle for the longest time", goes)
		}
		if b.connect("10.2.0.1") != nil {
			t.Error("a connection is taken although all others are busy")
		}
		b.checkClosed(false, "is busy", third)
		third.end()
		if b.connect("10.2.0.1") == nil {
			t.Error("there is room again, and none for a connection")
		}
	})
}

// An address that has more than half of the connections makes room itself, and whoever
// comes from elsewhere gets in.
func TestNoAddressHoldsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many, other = "10.0.0.1", "10.0.0.2"
		b := newBounded(t, 6)
		elsewhere := b.connect(other)
		var busy []*opened
		for range 4 {
			busy = append(busy, b.connect(many))
		}
		idle := b.connect(many)
		for _, conn := range busy {
			conn.begin()
		}
		if b.connect(many) == nil {
			t.Error("an address has no room besides its own idle connection")
		}
		b.checkClosed(true, "was idle, of the address with many", idle)
		b.checkClosed(false, "was idle for longer, of another address", elsewhere)
		last := b.connect(many) // In the place of the one before.
		last.begin()
		if b.connect(many) != nil {
			t.Error("an address with many busy connections gets another one")
		}
		if b.connect(other) == nil {
			t.Error("another address does not get in")
		}
		b.checkClosed(true, "came last, of the address with many", last)
		if b.connect(other) == nil {
			t.Error("another address does not get in twice")
		}
		b.checkClosed(true, "came last but one, of the address with many", busy[3])
		b.checkClosed(false, "is within the half of its address", busy[0])
	})
}

// http2Conn is a connection that the engine serves.
type http2Conn struct {
	idle time.Time
	gone bool
}

func (c *http2Conn) IdleSince() time.Time { return c.idle }
func (c *http2Conn) GoAway()              { c.gone = true }

// A peer over HTTP/2 is told before its connection is closed, which happens in the end
// whether it goes or not.
func TestHTTP2IsToldToGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 3
		b := newBounded(t, most)
		conns, served := make([]*opened, most), make([]*http2Conn, most)
		for i := range conns {
			conns[i], served[i] = b.connect("10.0.0."+string(rune('1'+i))), new(http2Conn)
			b.Served(conns[i].Conn, served[i])
		}
		served[1].idle = time.Now()
		b.connect("10.0.1.1")
		if !served[1].gone || served[0].gone || served[2].gone {
			t.Errorf("told to go are %v, %v, %v", served[0].gone, served[1].gone, served[2].gone)
		}
		b.checkClosed(false, "was told to go", conns[1])
		time.Sleep(searchInterval)
		b.connect("10.0.1.2") // In the place of the one before, which is idle.
		b.checkClosed(true, "was told to go and has not gone, when there is another one", conns[1])
	})
}

// A connection gives its place back once, however often it is closed.
func TestClosedConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBounded(t, 2)
		first, second := b.connect("10.0.0.1"), b.connect("10.0.0.2")
		second.begin()
		for range 3 {
			_ = first.Close()
		}
		third := b.connect("10.0.0.3")
		third.begin()
		if b.connect("10.0.0.4") != nil {
			t.Error("more connections are taken than may be")
		}
		if open, refused := gathered(t, b, "userd_connections"), gathered(t, b, "userd_connections_refused_total"); open != 2 || refused != 1 {
			t.Errorf("metrics count %v open and %v refused", open, refused)
		}
		if evicted := gathered(t, b, "userd_connections_evicted_total"); evicted != 0 {
			t.Errorf("metrics count %v evicted", evicted)
		}
	})
}

// gathered is the value of a metric.
func gathered(t *testing.T, c prometheus.Collector, name string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue() + family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// That connections cannot be accepted is told now and then, and that the listener is
// closed is not.
func TestAcceptErrorsAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBounded(t, 1)
		tooMany := errors.New("too many open files")
		fail := func(err error) {
			if _, got := b.Listen(&callers{err: err}).Accept(); !errors.Is(got, err) {
				t.Errorf("error is %v, want %v", got, err)
			}
		}
		for range 100 {
			fail(tooMany)
		}
		fail(net.ErrClosed)
		if lines := strings.Count(b.log.String(), "too many open files"); lines != 1 || strings.Contains(b.log.String(), "closed") {
			t.Errorf("log is:\n%s", b.log.String())
		}
		time.Sleep(acceptLogInterval)
		fail(tooMany)
		if lines := strings.Count(b.log.String(), "level=WARN"); lines != 2 {
			t.Errorf("%d warnings, want one for each interval", lines)
		}
	})
}

// All addresses of a network of IPv6 are one caller's.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"10.0.0.1":          "10.0.0.1/32",
		"::ffff:10.0.0.1":   "10.0.0.1/32",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64",
		"fe80::1%eth0":      "fe80::/64",
	} {
		if got := addressOf(&caller{address: address}).String(); got != want {
			t.Errorf("%s is of %s, want %s", address, got, want)
		}
	}
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if got := addressOf(one); got.IsValid() {
		t.Errorf("a pipe is of %s", got)
	}
}
