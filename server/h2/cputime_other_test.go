//go:build !linux

package h2_test

import (
	"testing"
	"time"
)

// onOneThread runs f. What that takes is measured on Linux.
func onOneThread(_ *testing.T, f func()) time.Duration {
	f()
	return 0
}

// cpuTime is the processor time of this process, which is measured on Linux.
func cpuTime(testing.TB) time.Duration { return 0 }
