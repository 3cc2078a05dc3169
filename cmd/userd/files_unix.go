//go:build unix

package main

import (
	"math"
	"syscall"
)

// maxOpenFiles is how many files and connections this process may have open. The runtime
// has raised the limit as far as it can.
func maxOpenFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)) // It is signed on some systems.
}
