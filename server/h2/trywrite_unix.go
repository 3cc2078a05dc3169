//go:build unix

package h2

import (
	"net"
	"syscall"
)

// tryWriter writes what a socket takes at once. A nil one writes nothing.
type tryWriter struct {
	raw  syscall.RawConn
	p    []byte
	n    int
	once func(fd uintptr) bool // A field, so that write does not allocate it.
}

// newTryWriter returns nil for connections that are no sockets, TLS for example.
func newTryWriter(nc net.Conn) *tryWriter {
	socket, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	t := &tryWriter{raw: raw}
	t.once = func(fd uintptr) bool {
		t.n, _ = syscall.Write(int(fd), t.p) // An error comes again when the rest is written.
		return true
	}
	return t
}

// write returns how much of p the socket took. It is not for two goroutines at a
// time.
func (t *tryWriter) write(p []byte) int {
	if t == nil {
		return 0
	}
	t.p, t.n = p, 0
	_ = t.raw.Write(t.once) // See once.
	t.p = nil
	return max(t.n, 0)
}
