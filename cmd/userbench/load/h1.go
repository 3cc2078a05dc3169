package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// h1Conn is the client's end of an HTTP/1.1 connection: one call at a time, as
// clients do it, with no more work than that needs.
type h1Conn struct {
	conn    net.Conn
	wire    *Wire
	in      *bufio.Reader
	done    func(call, error)
	stopped chan struct{} // Closed when the reader has ended.
	body    bytes.Buffer  // The response at hand; the reader's.

	mu      sync.Mutex
	err     error
	now     time.Duration
	busy    bool
	call    call
	out     []byte
	message []byte // Scratch for requests.
}

func dialH1(address string, wire *Wire) (*h1Conn, error) {
	conn, err := net.DialTimeout("tcp", address, dialWait)
	if err != nil {
		return nil, err
	}
	return &h1Conn{conn: conn, wire: wire, in: bufio.NewReaderSize(conn, 16<<10), stopped: make(chan struct{})}, nil
}

func (c *h1Conn) start(done func(call, error)) {
	c.done = done
	go c.serve()
}

func (c *h1Conn) lock()               { c.mu.Lock() }
func (c *h1Conn) unlock()             { c.mu.Unlock() }
func (c *h1Conn) time() time.Duration { return c.now }

func (c *h1Conn) room() int {
	if c.busy || c.err != nil {
		return 0
	}
	return 1
}

func (c *h1Conn) begin(next call) {
	c.message = next.op.Append(c.message[:0], next.key)
	c.out = c.wire.appendHTTP1(c.out[:0], c.conn.RemoteAddr().String(), next.op.Method, c.message)
	c.busy, c.call = true, next
}

// flush sends the request that has begun. The reader hears of an error, too.
func (c *h1Conn) flush() {
	if len(c.out) == 0 {
		return
	}
	if _, err := c.conn.Write(c.out); err != nil {
		c.conn.Close()
	}
	c.out = c.out[:0]
}

// serve reads responses until the connection ends.
func (c *h1Conn) serve() {
	defer close(c.stopped)
	for {
		status, err := c.read()
		c.mu.Lock()
		c.now = clock()
		c.err = err
		if err == nil {
			err = c.check(status)
		}
		if c.busy {
			c.busy = false
			c.done(c.call, err)
			c.flush()
		}
		ended := c.err != nil
		c.mu.Unlock()
		if ended {
			c.conn.Close()
			return
		}
	}
}

func (c *h1Conn) check(status int) error {
	if status != http.StatusOK {
		return fmt.Errorf("HTTP status %d: %.200s", status, &c.body)
	}
	return c.call.op.Check(c.body.Bytes(), c.call.key)
}

func (c *h1Conn) close() {
	c.conn.Close()
	<-c.stopped
}

// read reads one response into body.
func (c *h1Conn) read() (status int, err error) {
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, err
	}
	c.body.Reset()
	_, err = c.body.ReadFrom(response.Body)
	if err == nil && response.Close {
		err = errors.New("the server closes the connection")
	}
	return response.StatusCode, err
}

// appendHTTP1 appends a request.
func (w *Wire) appendHTTP1(dst []byte, host, method string, message []byte) []byte {
	if w.Get {
		dst = fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\n", w.path(method, message), host)
		message = nil
	} else {
		dst = fmt.Appendf(dst, "POST %s%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", service, method, host, len(message))
	}
	for _, field := range w.fields() {
		dst = fmt.Appendf(dst, "%s: %s\r\n", field[0], field[1])
	}
	return append(append(dst, "\r\n"...), message...)
}
