package server

import (
	"bufio"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// gatherBytes is how much may wait to be written to a connection.
	gatherBytes = 32 << 10
	// gatherReadBytes is how much is read from a connection at a time.
	gatherReadBytes = 4 << 10
	// closeTimeout is how long the last bytes may take when a connection is closed.
	closeTimeout = time.Second
	// http2Preface is the start of what a peer says who speaks HTTP/2 without asking.
	http2Preface = "PRI "
)

// gatheringListener makes the HTTP/2 of net/http cheap in system calls: that reads
// each frame in two pieces, and writes nearly each frame by itself.
type gatheringListener struct {
	net.Listener
}

func (l gatheringListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newGatheringConn(conn), nil
}

// gatheringConn is a connection that, if its peer speaks HTTP/2, reads much at a
// time, and writes what all that can run have to say at once. Writes return before
// they are done; that one has failed the next one tells, or a read. Connections of
// HTTP/1.1 are left as they are: they read a request at once, and write a response
// at once.
type gatheringConn struct {
	net.Conn
	reader *bufio.Reader // Nil until the peer has said that it speaks HTTP/2.
	known  bool          // What the peer speaks.

	mu       sync.Mutex
	room     sync.Cond // When less waits, or never will.
	gathers  bool
	waiting  []byte // Of gatherBuffers, or nil.
	flushing bool   // A goroutine is to write what waits.
	writing  bool   // It is writing what waited before.
	began    time.Time
	err      error // Of a write, or net.ErrClosed.
}

func newGatheringConn(conn net.Conn) *gatheringConn {
	c := &gatheringConn{Conn: conn}
	c.room.L = &c.mu
	return c
}

var gatherBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, gatherBytes)
	return &b
}}

// Read implements net.Conn.
func (c *gatheringConn) Read(p []byte) (int, error) {
	if c.reader != nil {
		return c.reader.Read(p)
	}
	n, err := c.Conn.Read(p)
	if !c.known && n > 0 {
		c.known = true
		if strings.HasPrefix(string(p[:min(n, len(http2Preface))]), http2Preface) {
			c.reader = bufio.NewReaderSize(c.Conn, gatherReadBytes)
			c.mu.Lock()
			c.gathers = true
			c.mu.Unlock()
		}
	}
	return n, err
}

// Write implements net.Conn. It waits while too much waits to be written.
func (c *gatheringConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if !c.gathers {
		c.mu.Unlock()
		return c.Conn.Write(p)
	}
	defer c.mu.Unlock()
	for c.err == nil && len(c.waiting) > 0 && len(c.waiting)+len(p) > gatherBytes {
		c.room.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	if c.waiting == nil {
		c.waiting = *gatherBuffers.Get().(*[]byte)
	}
	c.waiting = append(c.waiting, p...)
	if !c.flushing {
		c.flushing = true
		go c.flush() // It ends when all is written or the connection is closed.
	}
	return len(p), nil
}

// flush writes what waits, until nothing does. First it lets all goroutines run that
// can, since they may have something to write too.
func (c *gatheringConn) flush() {
	runtime.Gosched()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) > 0 && c.err == nil {
		p := c.waiting
		c.waiting, c.writing, c.began = nil, true, time.Now()
		c.room.Broadcast()
		c.mu.Unlock()
		_, err := c.Conn.Write(p)
		if cap(p) <= 2*gatherBytes {
			p = p[:0]
			gatherBuffers.Put(&p)
		}
		c.mu.Lock()
		c.writing, c.err = false, err
	}
	c.flushing = false
	c.room.Broadcast()
}

// Close implements net.Conn. What waits is written, unless the peer does not read.
func (c *gatheringConn) Close() error {
	c.mu.Lock()
	if c.flushing {
		from := time.Now()
		if c.writing {
			from = c.began
		}
		_ = c.Conn.SetWriteDeadline(from.Add(closeTimeout))
	}
	for c.flushing {
		c.room.Wait()
	}
	if c.err == nil {
		c.err = net.ErrClosed
	}
	c.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite is that of a TCP connection, which net/http uses to end HTTP/1.1.
func (c *gatheringConn) CloseWrite() error {
	if tcp, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return errors.ErrUnsupported
}
