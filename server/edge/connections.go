package edge

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Connections bounds how many connections are open, and counts them.
type Connections struct {
	most    int64
	open    atomic.Int64
	refused atomic.Int64
}

// NewConnections allows so many connections, and adds their metrics to a registry.
func NewConnections(most int, registry prometheus.Registerer) *Connections {
	c := &Connections{most: int64(most)}
	registry.MustRegister(c)
	return c
}

// Limit returns a listener that closes what inner accepts beyond the bound.
func (c *Connections) Limit(inner net.Listener) net.Listener {
	return limitedListener{inner, c}
}

var (
	connectionsOpen    = prometheus.NewDesc("userd_connections", "Connections that are open.", nil, nil)
	connectionsRefused = prometheus.NewDesc("userd_connections_refused_total", "Connections closed at once because too many were open.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *Connections) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *Connections) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(connectionsOpen, prometheus.GaugeValue, float64(c.open.Load()))
	out <- prometheus.MustNewConstMetric(connectionsRefused, prometheus.CounterValue, float64(c.refused.Load()))
}

type limitedListener struct {
	net.Listener
	connections *Connections
}

func (l limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.connections.open.Add(1) <= l.connections.most {
			return counted(conn, sync.OnceFunc(func() { l.connections.open.Add(-1) })), nil
		}
		l.connections.open.Add(-1)
		l.connections.refused.Add(1)
		_ = conn.Close() // Whether the refusal reaches the peer is the same to us.
	}
}

// counted returns conn with a Close that also calls release. A TCP connection keeps
// all that it can do.
func counted(conn net.Conn, release func()) net.Conn {
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &countedTCP{tcp, release}
	}
	return &countedConn{conn, release}
}

type countedConn struct {
	net.Conn
	release func()
}

func (c *countedConn) Close() error {
	c.release()
	return c.Conn.Close()
}

type countedTCP struct {
	*net.TCPConn
	release func()
}

func (c *countedTCP) Close() error {
	c.release()
	return c.TCPConn.Close()
}
