package connections

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/example/userd/socket"
)

// networkBits is how much of an address of IPv6 tells one caller from another: each has
// all addresses of a /64.
const networkBits = 64

// HTTP2 is a connection while something else than net/http serves it.
type HTTP2 interface {
	// IdleSince is when its last stream has ended, or zero while there is one.
	IdleSince() time.Time
	// GoAway asks the peer to open no more streams. The connection ends when those that
	// are there have.
	GoAway()
}

// connection is one that a Limiter counts.
type connection struct {
	net.Conn    // Of package socket, if it is one.
	connections *Limiter
	address     netip.Prefix
	number      uint64
	served      atomic.Pointer[HTTP2]
	idleSince   atomic.Int64 // In nanoseconds since 1970, or 0 while a request is under way.
	writing     atomic.Int64 // The look before something began to be written, or 0 while nothing is.
	ended       atomic.Bool
	heard       bool        // Something has come. Whoever reads has it.
	old         atomic.Bool // It has reached the age at which it goes.
	tenure      tenure
}

// addressOf is the address of a peer, or of its network. That of a Unix socket is zero.
func addressOf(nc net.Conn) netip.Prefix {
	tcp, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	return NetworkOf(tcp.AddrPort())
}

// NetworkOf is what tells one caller from another: an address of IPv4, a network of IPv6.
// It is zero for the zero AddrPort.
func NetworkOf(address netip.AddrPort) netip.Prefix {
	ip := address.Addr().Unmap().WithZone("")
	network, _ := ip.Prefix(min(ip.BitLen(), networkBits)) // It has that many.
	return network
}

// connectionOf is what counts nc, or nil. TLS and what has looked at the first bytes may be
// around it.
func connectionOf(nc net.Conn) *connection {
	for {
		switch conn := nc.(type) {
		case interface{ counts() *connection }:
			return conn.counts()
		case interface{ NetConn() net.Conn }:
			nc = conn.NetConn()
		default:
			return nil
		}
	}
}

// Served notes that nc is served by something else than net/http.
func (c *Limiter) Served(nc net.Conn, by HTTP2) {
	if conn := connectionOf(nc); conn != nil {
		conn.served.Store(&by)
		if conn.old.Load() {
			by.GoAway()
		}
	}
}

// SetIdle notes whether nothing is under way on nc, which net/http serves.
func SetIdle(nc net.Conn, idle bool) {
	c := connectionOf(nc)
	if c == nil {
		return
	}
	since := int64(0)
	if idle {
		since = time.Now().UnixNano()
	}
	c.idleSince.Store(since)
}

// idle is since when nothing is under way, in nanoseconds since 1970, or 0.
func (c *connection) idle() int64 {
	served := c.served.Load()
	if served == nil {
		return c.idleSince.Load()
	}
	since := (*served).IdleSince()
	if since.IsZero() {
		return 0
	}
	return since.UnixNano()
}

// evict ends the connection for another one.
func (c *connection) evict() {
	if served := c.served.Load(); served != nil {
		(*served).GoAway()
		return
	}
	_ = c.Conn.Close() // Those who serve it find out.
}

// counted is the connection nc for those who serve it. A TCP connection keeps all that it can
// do.
func (c *connection) counted(nc net.Conn) net.Conn {
	if tcp, ok := nc.(*net.TCPConn); ok {
		return &countedTCP{tcp, c}
	}
	return c
}

func (c *connection) counts() *connection { return c }

// Read implements net.Conn.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.heard {
		c.hear(p[:n])
	}
	return n, err
}

// Write implements net.Conn.
func (c *connection) Write(p []byte) (int, error) { return c.write(p) }

// TryWrite implements socket.TryWriter.
func (c *connection) TryWrite(p []byte) int {
	if conn, ok := c.Conn.(socket.TryWriter); ok {
		return conn.TryWrite(p)
	}
	return 0
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.end()
	return c.Conn.Close()
}

func (c *connection) end() {
	if !c.ended.Swap(true) {
		c.leaveTenure()
		c.connections.closed(c)
	}
}

type countedTCP struct {
	*net.TCPConn
	connection *connection
}

func (c *countedTCP) counts() *connection { return c.connection }

func (c *countedTCP) Read(p []byte) (int, error)  { return c.connection.Read(p) }
func (c *countedTCP) Write(p []byte) (int, error) { return c.connection.Write(p) }
func (c *countedTCP) TryWrite(p []byte) int       { return c.connection.TryWrite(p) }
func (c *countedTCP) Close() error                { return c.connection.Close() }
