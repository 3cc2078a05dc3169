package h2

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Config says how a server runs. Only Handler must be set.
type Config struct {
	// Handler serves the requests that Direct does not take, OPTIONS of "*" too.
	Handler http.Handler
	// Direct answers requests that have come whole without net/http. Default: Handler
	// serves all.
	Direct Direct
	// Logger takes panics of handlers. Default: discarded.
	Logger *slog.Logger
	// MaxConcurrentStreams is the most streams that a connection may have open, and
	// the most handlers that may run for it. Default: 100.
	MaxConcurrentStreams int
	// MaxHeaderBytes is the largest header of a request that is served, in bytes, before
	// and after decompression. A larger one is refused, and the connection goes on; one
	// that is more than four times as large ends the connection. Default: 64 KiB.
	MaxHeaderBytes int
	// HeadersTooLarge answers requests whose header is too large, of which it sees what
	// fits into MaxHeaderBytes. Default: 431 Request Header Fields Too Large.
	HeadersTooLarge http.Handler
	// FitHeader returns what is to be sent of a header or a trailer that is larger than
	// size bytes, as RFC 9113 section 6.5.2 counts: MaxSentHeaderBytes, or what the peer
	// takes if that is less (SETTINGS_MAX_HEADER_LIST_SIZE). Many a peer ends the
	// connection when it gets more, with all other requests on it. Must not change fields.
	// Default: everything is sent.
	FitHeader func(fields []hpack.HeaderField, size int) []hpack.HeaderField
	// MaxSentHeaderBytes is the largest header or trailer that is sent when there is a
	// FitHeader, in bytes. Default: 8 KiB, which most peers take.
	MaxSentHeaderBytes int
	// ConnContext may add to the context of a connection, which is the parent of those of
	// its requests. Default: it stays as it is.
	ConnContext func(context.Context, net.Conn) context.Context
	// Served is told of each connection that the server serves. Default: nobody is.
	Served func(net.Conn, Conn)
	// StreamWindow is how much of a request may wait for its handler to read it, in
	// bytes. Default: 512 KiB.
	StreamWindow int
	// ConnWindow is how much of all requests of one connection may wait, in bytes.
	// Default: 2 MiB.
	ConnWindow int
	// HeaderTimeout is how long the preface, and then each header block, may take
	// from its first byte to its last. Default: 5 seconds.
	HeaderTimeout time.Duration
	// ReadTimeout is how long a request may take to come before Direct leaves it to the
	// Handler. Default: 10 seconds.
	ReadTimeout time.Duration
	// IdleTimeout is how long a connection may have no stream. Default: 120 seconds.
	IdleTimeout time.Duration
	// PingAfter is the silence after which a peer is sent a PING, and PingTimeout
	// how long it may take to answer. Defaults: 30 and 15 seconds.
	PingAfter, PingTimeout time.Duration
	// WriteTimeout is how long a connection, or one stream of it, may have something
	// to send without its peer taking any of it. Default: 30 seconds.
	WriteTimeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.HeadersTooLarge == nil {
		c.HeadersTooLarge = http.HandlerFunc(refuseHeaders)
	}
	c.MaxConcurrentStreams = cmp.Or(c.MaxConcurrentStreams, 100)
	c.MaxHeaderBytes = cmp.Or(c.MaxHeaderBytes, 64<<10)
	c.MaxSentHeaderBytes = cmp.Or(c.MaxSentHeaderBytes, 8<<10)
	c.StreamWindow = cmp.Or(c.StreamWindow, 512<<10)
	c.ConnWindow = max(cmp.Or(c.ConnWindow, 2<<20), initialWindow+1) // It starts so and can only grow.
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 5*time.Second)
	c.ReadTimeout = cmp.Or(c.ReadTimeout, 10*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 120*time.Second)
	c.PingAfter = cmp.Or(c.PingAfter, 30*time.Second)
	c.PingTimeout = cmp.Or(c.PingTimeout, 15*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 30*time.Second)
	return c
}

// Conn is a connection that a server serves.
type Conn interface {
	// IdleSince is when the last stream has ended, or zero while there is one, or its peer
	// has been told to go away.
	IdleSince() time.Time
	// GoAway asks the peer to open no more streams. The connection ends when those that
	// are there have.
	GoAway()
}

// Server serves HTTP/2 connections.
type Server struct {
	config  Config
	stats   Stats
	workers workers

	mu       sync.Mutex
	conns    map[*conn]struct{}
	draining bool // Peers are told to go away as soon as they come.
	stopping bool
	drained  chan struct{} // Closed when stopping and without connections.
	watch    sync.Once     // When the first connection comes.
	end      sync.Once
}

// New returns a server.
func New(config Config) *Server {
	s := &Server{config: config.withDefaults(), conns: make(map[*conn]struct{}), drained: make(chan struct{})}
	s.workers.next = make(chan work)
	return s
}

// Stats returns the counters of the server, which go on counting.
func (s *Server) Stats() *Stats { return &s.stats }

// ServeConn serves a connection whose peer speaks HTTP/2 with prior knowledge, and
// closes it. It returns when the handlers of the connection have.
func (s *Server) ServeConn(nc net.Conn) { s.serve(newConn(s, nc)) }

// TLSNextProto serves a connection that has chosen HTTP/2 by ALPN. It is the value
// for "h2" in http.Server.TLSNextProto; the handler is that of the Config.
func (s *Server) TLSNextProto(_ *http.Server, nc *tls.Conn, _ http.Handler) {
	c, state := newConn(s, nc), nc.ConnectionState()
	c.tls = &state
	s.serve(c)
}

// serve serves a connection, if the server takes it.
func (s *Server) serve(c *conn) {
	if s.add(c) {
		s.serveAdded(c)
		return
	}
	_ = c.nc.Close() // As if it had come a moment later.
}

func (s *Server) serveAdded(c *conn) {
	defer s.remove(c)
	if s.config.Served != nil {
		s.config.Served(c.nc, c)
	}
	c.serve()
}

// add takes a connection, unless the server is stopping.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	if s.draining {
		c.startDrain()
	}
	s.conns[c] = struct{}{}
	s.stats.Connections.Add(1)
	s.stats.ConnectionsOpen.Add(1)
	s.watch.Do(func() { s.workers.all.Go(s.watchConns) })
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.stats.ConnectionsOpen.Add(-1)
	s.checkDrained()
}

// checkDrained ends the server's own goroutines when there is nothing left to serve.
// s.mu is held.
func (s *Server) checkDrained() {
	if s.stopping && len(s.conns) == 0 {
		s.end.Do(func() {
			close(s.drained)
			s.workers.stop()
		})
	}
}

// GoAway tells the peers of the connections that are open to open no more streams. Those of
// connections that come later are not told.
func (s *Server) GoAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.startDrain()
	}
}

// Drain is GoAway, also for the connections that still come.
func (s *Server) Drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.GoAway()
}

// Shutdown drains the server, takes no connections any more, and returns when the
// streams that are open have ended. When ctx ends first, it closes the connections, and
// returns the context's error without waiting for handlers.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	s.stop()
	select {
	case <-s.drained:
		s.workers.all.Wait()
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.Close())
	}
}

// Close closes all connections.
func (s *Server) Close() error {
	var errs []error
	for _, c := range s.stop() {
		if err := c.nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// stop takes no connections any more, and returns those that are open.
func (s *Server) stop() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	s.checkDrained()
	return slices.Collect(maps.Keys(s.conns))
}

// guarded calls f and returns its error, or that it has panicked. Nothing that a goroutine
// of the server runs into may end the process.
func (s *Server) guarded(remote string, f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.logPanic(remote, cause)
			err = connectionError(http2.ErrCodeInternal, "panic")
		}
	}()
	return f()
}

func (s *Server) logPanic(remote string, cause any) {
	if cause == http.ErrAbortHandler { // It is panicked with as it is.
		return
	}
	s.stats.Panics.Add(1)
	s.config.Logger.Error("panic while serving", "peer", remote,
		"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
}

// checkTLS refuses what RFC 9113 section 9.2 forbids. The zero state is no TLS.
func checkTLS(state *tls.ConnectionState) error {
	if state == nil || state.Version >= tls.VersionTLS13 {
		return nil
	}
	switch state.CipherSuite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		if state.Version == tls.VersionTLS12 {
			return nil
		}
	}
	return connectionError(http2.ErrCodeInadequateSecurity, "HTTP/2 needs TLS 1.2 with an AEAD cipher, or TLS 1.3")
}
