//go:build !linux

package lab

import (
	"os/exec"
	"syscall"
)

// Elsewhere nothing is pinned, and servers outlive a benchmark that is killed.

func dieWithParent(*exec.Cmd, syscall.Signal) {}

func usableCores() []int { return nil }

func onCores(_ []int, start func() error) error { return start() }

func pinProcess([]int) error { return nil }

// LoadCPU is the processor time that this process has used, in nanoseconds.
func LoadCPU() int64 { return 0 }
