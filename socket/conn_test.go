//go:build unix

package socket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/example/userd/socket"
)

// pair is both ends of a connection.
func pair(t *testing.T, network string) (near, far net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "socket")
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err = net.Dial(network, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	far, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, far
}

// reset closes a connection so that its peer is told of a reset.
func reset(nc net.Conn) {
	_ = nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
}

// What a connection says of its end is what that of package net says.
func TestErrorsAreThoseOfNet(t *testing.T) {
	t.Parallel()
	past := time.Unix(1, 0)
	for name, end := range map[string]func(near, far net.Conn){
		"closed by the peer":    func(_, far net.Conn) { far.Close() },
		"reset by the peer":     func(_, far net.Conn) { reset(far) },
		"closed":                func(near, _ net.Conn) { near.Close() },
		"too late":              func(near, _ net.Conn) { _ = near.SetDeadline(past) },
		"closed while it waits": func(near, _ net.Conn) { time.AfterFunc(10*time.Millisecond, func() { near.Close() }) },
		"late while it waits":   func(near, _ net.Conn) { _ = near.SetDeadline(time.Now().Add(10 * time.Millisecond)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said [2][]string
			for i, wrap := range []func(net.Conn) net.Conn{func(nc net.Conn) net.Conn { return nc }, socket.Wrap} {
				near, far := pair(t, "tcp")
				near = wrap(near)
				end(near, far)
				n, err := near.Read(make([]byte, 10))
				said[i] = append(said[i], fmt.Sprint("read ", n, " ", describe(err)))
				said[i] = append(said[i], "write "+describe(writeUntilError(near)))
			}
			if !reflect.DeepEqual(said[0], said[1]) {
				t.Errorf("\n%q, want\n%q", said[1], said[0])
			}
		})
	}
}

// describe is all that callers can find out of an error.
func describe(err error) string {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok {
		return fmt.Sprintf("%T %v", err, err)
	}
	return fmt.Sprintf("%s %s %v %v %T %v timeout %v closed %v late %v", op.Op, op.Net, op.Source != nil, op.Addr != nil, op.Err, op.Err,
		op.Timeout(), errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded))
}

// writeUntilError writes until there is an error: the first write to a peer who is gone is what
// tells.
func writeUntilError(nc net.Conn) (err error) {
	for err == nil {
		_, err = nc.Write([]byte("x"))
	}
	return err
}

// All arrives as it was sent, both ways at once, where readers are slower than writers, and from
// several writers each write as a whole.
func TestAllArrives(t *testing.T) {
	t.Parallel()
	const writers, times, size = 4, 20, 300_000
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			near, far := pair(t, network)
			near, far = socket.Wrap(near), socket.Wrap(far)
			var all sync.WaitGroup
			for _, nc := range []net.Conn{near, far} {
				for writer := range writers {
					all.Go(func() {
						for range times {
							if n, err := nc.Write(bytes.Repeat([]byte{byte(writer)}, size)); n != size || err != nil {
								t.Errorf("wrote %d of %d, error %v", n, size, err)
							}
						}
					})
				}
				all.Go(func() {
					var seen [writers]int
					p := make([]byte, size)
					for range writers * times {
						if _, err := io.ReadFull(nc, p); err != nil {
							t.Error(err)
							return
						}
						if bytes.Count(p, p[:1]) != size {
							t.Errorf("writes are mixed")
							return
						}
						seen[p[0]]++
					}
					if seen != [writers]int{times, times, times, times} {
						t.Errorf("of the writers came %v, want %d of each", seen, times)
					}
				})
			}
			all.Wait()
		})
	}
}

// What has no room is not waited for, and all that was said to be written arrives. Where a peer does
// not read, a connection over TCP can still have room again after a write for which it had not
// enough: the kernel of the peer may take in more.
func TestTryWrite(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			near, far := pair(t, network)
			c := socket.Wrap(near).(*socket.Conn)
			if n := c.TryWrite([]byte("first")); n != 5 {
				t.Errorf("wrote %d of 5 at once", n)
			}
			sent := 5
			for n := sent; n > 0; sent += n {
				n = c.TryWrite(make([]byte, 1<<20))
			}
			near.(interface{ CloseWrite() error }).CloseWrite()
			if got, err := io.Copy(io.Discard, far); err != nil || got != int64(sent) {
				t.Errorf("%d of %d arrived, error %v", got, sent, err)
			}
			near.Close()
			if n := c.TryWrite([]byte("late")); n != 0 {
				t.Errorf("wrote %d to what is closed", n)
			}
		})
	}
}

// What is no socket, and what is wrapped, stays what it is.
func TestWrap(t *testing.T) {
	t.Parallel()
	pipe, end := net.Pipe()
	defer pipe.Close()
	defer end.Close()
	if socket.Wrap(pipe) != pipe {
		t.Error("a pipe was wrapped")
	}
	near, _ := pair(t, "tcp")
	c := socket.Wrap(near)
	if c == near || socket.Wrap(c) != c {
		t.Error("not wrapped once")
	}
	if c.(*socket.Conn).NetConn() != near {
		t.Error("what is wrapped cannot be had")
	}
}

// Not in parallel: it counts allocations.
func TestNothingIsAllocated(t *testing.T) {
	near, far := pair(t, "tcp")
	near, far = socket.Wrap(near), socket.Wrap(far)
	p := make([]byte, 10)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := near.Write(p); err != nil {
			t.Fatal(err)
		}
		if n, err := far.Read(p); n != len(p) || err != nil {
			t.Fatalf("read %d, error %v", n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if n, err := far.Read(nil); n != 0 || err != nil {
		t.Errorf("read %d into nothing, error %v", n, err)
	}
}
