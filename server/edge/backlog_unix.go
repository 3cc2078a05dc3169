//go:build unix

package edge

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hasWaiting tells whether a connection has come that nobody has accepted yet, if the
// listener is a socket.
func hasWaiting(listener net.Listener) bool {
	socket, ok := listener.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	ready := 0
	err = raw.Control(func(fd uintptr) {
		ready, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) // Descriptors are small.
	})
	return err == nil && ready > 0
}
