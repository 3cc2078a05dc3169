package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"
)

// h1Conn is the client's end of an HTTP/1.1 connection: one call at a time, as
// clients do it, with no more work than that needs.
type h1Conn struct {
	conn     net.Conn
	wire     *Wire
	in       *bufio.Reader
	done     func(call, error)
	stopped  chan struct{} // Closed when the reader has ended.
	body     []byte        // The response at hand; the reader's.
	unpacked []byte

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
		status, encoding, err := c.read()
		c.mu.Lock()
		c.now = clock()
		c.err = err
		if err == nil {
			err = c.check(status, encoding)
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

func (c *h1Conn) check(status int, encoding string) error {
	if status != 200 {
		return fmt.Errorf("HTTP status %d: %.200s", status, c.body)
	}
	message := c.body
	if encoding != "" && encoding != "identity" {
		var err error
		if c.unpacked, err = decompress(c.unpacked[:0], encoding, c.body); err != nil {
			return err
		}
		message = c.unpacked
	}
	return c.call.op.Check(message, c.call.key)
}

func (c *h1Conn) close() {
	c.conn.Close()
	<-c.stopped
}

// read reads one response into body.
func (c *h1Conn) read() (status int, encoding string, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, "", err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) || len(line) < 12 {
		return 0, "", fmt.Errorf("status line %.40q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, "", fmt.Errorf("status line: %w", err)
	}
	length, chunked := -1, false
	for {
		name, value, err := c.readField()
		if err != nil {
			return 0, "", err
		}
		switch {
		case len(name) == 0:
			return status, encoding, c.readBody(length, chunked)
		case bytes.EqualFold(name, []byte("content-length")):
			length, err = strconv.Atoi(string(value))
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = string(value) == "chunked"
		case bytes.EqualFold(name, []byte("content-encoding")):
			encoding = string(value)
		}
		if err != nil {
			return 0, "", fmt.Errorf("content-length: %w", err)
		}
	}
}

// readField reads one header field; after the last one its name is empty.
func (c *h1Conn) readField() (name, value []byte, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, nil, err
	}
	name, value, _ = bytes.Cut(bytes.TrimSpace(line), []byte(":"))
	return name, bytes.TrimSpace(value), nil
}

func (c *h1Conn) readBody(length int, chunked bool) error {
	switch {
	case chunked:
		buffer := bytes.NewBuffer(c.body[:0])
		if _, err := buffer.ReadFrom(httputil.NewChunkedReader(c.in)); err != nil {
			return err
		}
		c.body = buffer.Bytes()
		_, err := c.in.ReadSlice('\n') // The end of the trailers, of which there are none.
		return err
	case length < 0:
		return errors.New("the server closes the connection")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err := io.ReadFull(c.in, c.body)
	return err
}

// appendHTTP1 appends a request.
func (w *Wire) appendHTTP1(dst []byte, host, method string, message []byte) []byte {
	if w.Get {
		dst = append(dst, "GET "...)
		dst = append(dst, w.path(method, message)...)
	} else {
		dst = append(dst, "POST "+service...)
		dst = append(dst, method...)
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	for _, field := range w.fields() {
		dst = append(dst, "\r\n"...)
		dst = append(dst, field[0]...)
		dst = append(dst, ": "...)
		dst = append(dst, field[1]...)
	}
	if w.Get {
		return append(dst, "\r\n\r\n"...)
	}
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(message)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, message...)
}
