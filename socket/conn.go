//go:build unix

package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Conn is a connection of package net with the reads and writes of this package. Their results
// and errors are those of net.
type Conn struct {
	net.Conn
	in  transfer
	out transfer
	// The steps of the calls, made once, so that these do not allocate them.
	read, write, tryWrite func(fd uintptr) bool
}

// transfer is what a call moves in one direction.
type transfer struct {
	sync.Mutex // One call at a time.

	how func(step func(fd uintptr) bool) error // Of RawConn.
	p   []byte
	n   int
	err error
}

// Wrap returns nc as a Conn if it is a socket. What is a TryWriter already, and what is no socket, as
// with TLS, it returns as it is.
func Wrap(nc net.Conn) net.Conn {
	if _, ok := nc.(TryWriter); ok {
		return nc
	}
	socket, ok := nc.(syscall.Conn)
	if !ok {
		return nc
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nc
	}
	c := &Conn{Conn: nc, in: transfer{how: raw.Read}, out: transfer{how: raw.Write}}
	c.read, c.write, c.tryWrite = c.readOnce, c.writeAll, c.writeOnce
	return c
}

// NetConn is the connection of package net.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.in.begin(p)
	n, err := c.in.end(c.in.how(c.read))
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, c.failed("read", err)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.out.begin(p)
	n, err := c.out.end(c.out.how(c.write))
	return n, c.failed("write", err)
}

// TryWrite implements TryWriter.
func (c *Conn) TryWrite(p []byte) int {
	c.out.begin(p)
	n, _ := c.out.end(c.out.how(c.tryWrite))
	return n
}

// begin and end are what calls do before and after how. One function around that would be one more
// on the stack of each goroutine that waits in a read.
func (t *transfer) begin(p []byte) {
	t.Lock()
	t.p, t.n, t.err = p, 0, nil
}

func (t *transfer) end(err error) (int, error) {
	n := t.n
	if err == nil {
		err = t.err
	}
	t.p = nil
	t.Unlock()
	return n, err
}

// move makes a system call, and reports whether the socket was ready for it.
func (t *transfer) move(call func(fd uintptr, p []byte) (int, syscall.Errno), fd uintptr) (ready bool) {
	for {
		n, errno := call(fd, t.p[t.n:])
		switch errno {
		case 0:
			t.n += n
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.err = errno
			return true
		}
	}
}

func (c *Conn) readOnce(fd uintptr) bool { return c.in.move(rawRead, fd) }

func (c *Conn) writeOnce(fd uintptr) bool {
	c.out.move(rawWrite, fd)
	return true
}

func (c *Conn) writeAll(fd uintptr) bool {
	for c.out.move(rawWrite, fd) {
		if c.out.n == len(c.out.p) || c.out.err != nil {
			return true
		}
	}
	return false
}

// failed is err as net has it.
func (c *Conn) failed(op string, err error) error {
	switch err := err.(type) {
	case nil:
		return nil
	case *net.OpError: // Of RawConn: closed, or too late.
		err.Op = op
		return err
	case syscall.Errno:
		local := c.LocalAddr()
		return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
	default:
		return err
	}
}
