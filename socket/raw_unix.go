//go:build unix && (!linux || race)

package socket

import (
	"errors"
	"syscall"
)

// These tell the scheduler. Beside Linux, system calls go through a library that may need it; the
// race detector learns from them that what was written is read.

func rawRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	return n, errnoOf(err)
}

func rawWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), p)
	return n, errnoOf(err)
}

func errnoOf(err error) syscall.Errno {
	errno, _ := errors.AsType[syscall.Errno](err)
	return errno
}
