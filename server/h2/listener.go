package h2

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// sniffBytes is how much of a connection is looked at, in bytes. The first line of
// an HTTP/1.1 request that is longer is one all the same.
const sniffBytes = 1 << 10

// Listener returns a listener that keeps the connections of inner that start with
// the preface of HTTP/2, and serves them. Its Accept returns the others, for a
// net/http server without TLS. Closing it does not close the connections that it
// serves; Shutdown does. When inner is closed first, what it has accepted is still
// served or returned by Accept, before Accept returns net.ErrClosed.
func (s *Server) Listener(inner net.Listener) net.Listener {
	l := &listener{
		Listener: inner, srv: s,
		accepted: make(chan accepted), closed: make(chan struct{}), sniffing: make(map[net.Conn]struct{}),
	}
	l.all.Go(l.acceptAll)
	return l
}

type listener struct {
	net.Listener
	srv      *Server
	accepted chan accepted
	closed   chan struct{}
	all      sync.WaitGroup // Of the goroutine that accepts.
	sniffers sync.WaitGroup // Connections of which it is not known what they speak.

	mu       sync.Mutex
	stopped  bool
	sniffing map[net.Conn]struct{}
}

type accepted struct {
	conn net.Conn
	err  error
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case next := <-l.accepted:
		return next.conn, next.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return nil
	}
	l.stopped = true
	close(l.closed)
	for conn := range l.sniffing {
		_ = conn.Close() // It has asked for nothing yet.
	}
	l.mu.Unlock()
	err := l.Listener.Close()
	l.all.Wait()
	l.sniffers.Wait()
	return err
}

func (l *listener) acceptAll() {
	for {
		var conn net.Conn
		err := l.srv.guarded("", func() (err error) {
			conn, err = l.Listener.Accept()
			return err
		})
		if errors.Is(err, net.ErrClosed) {
			l.sniffers.Wait()
		}
		if err == nil {
			l.admit(conn)
		} else if !l.pass(accepted{nil, err}) {
			return
		} // What is not for ever, net/http waits for.
	}
}

// pass lets Accept return something, and reports whether the listener is still open.
func (l *listener) pass(next accepted) bool {
	select {
	case l.accepted <- next:
		return true
	case <-l.closed:
		return false
	}
}

// admit has somebody look at the first bytes of a connection.
func (l *listener) admit(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		_ = conn.Close() // It has asked for nothing yet.
		return
	}
	l.sniffing[conn] = struct{}{}
	l.sniffers.Add(1)
	go l.sniff(conn)
}

// sniff reads the first bytes of a connection and serves it, or passes it on.
func (l *listener) sniff(nc net.Conn) {
	serve := func() { _ = nc.Close() } // Silent or too late.
	_ = l.srv.guarded("", func() error {
		start, speaksHTTP2, err := readStart(nc, l.srv.config.HeaderTimeout)
		l.mu.Lock()
		delete(l.sniffing, nc)
		l.mu.Unlock()
		switch {
		case err != nil:
		case !speaksHTTP2:
			if l.pass(accepted{&sniffed{Conn: nc, start: start}, nil}) {
				serve = func() {}
			}
		default:
			c := newConn(l.srv, nc)
			c.filled = copy(c.in, start)
			if l.srv.add(c) {
				serve = func() { l.srv.serveAdded(c) }
			}
		}
		return err
	})
	l.sniffers.Done()
	serve()
}

// readStart reads as much of a connection as it takes to tell what it speaks.
func readStart(conn net.Conn, timeout time.Duration) (start []byte, speaksHTTP2 bool, err error) {
	err = conn.SetReadDeadline(time.Now().Add(timeout))
	start = make([]byte, 0, sniffBytes)
	for n, known := 0, false; err == nil && !known; {
		n, err = conn.Read(start[len(start):cap(start)])
		start = start[:len(start)+n]
		if speaksHTTP2, known = speaks(start); known {
			err = conn.SetReadDeadline(time.Time{})
		}
	}
	return start, speaksHTTP2, err
}

// speaks tells what the first bytes of a connection are, if they tell. A first line that
// is not of HTTP/1 is a broken preface, which the engine refuses as RFC 9113 section 3.4
// says.
func speaks(start []byte) (isHTTP2, known bool) {
	if n := min(len(start), len(http2.ClientPreface)); string(start[:n]) == http2.ClientPreface[:n] {
		return true, n == len(http2.ClientPreface)
	}
	line, _, whole := bytes.Cut(start, []byte("\n"))
	return whole && !bytes.Contains(line, []byte(" HTTP/1.")), true
}

// sniffed is a connection some of which was read already.
type sniffed struct {
	net.Conn
	start []byte
}

func (s *sniffed) Read(p []byte) (int, error) {
	if len(s.start) > 0 {
		n := copy(p, s.start)
		s.start = s.start[n:]
		return n, nil
	}
	return s.Conn.Read(p)
}

// NetConn is the connection itself, as that of a tls.Conn.
func (s *sniffed) NetConn() net.Conn { return s.Conn }

// CloseWrite lets net/http end a connection whose peer still writes.
func (s *sniffed) CloseWrite() error {
	half, ok := s.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
