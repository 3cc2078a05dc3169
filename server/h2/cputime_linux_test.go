package h2_test

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// onOneThread runs f on a thread that runs nothing else, and returns the processor time
// that it has taken.
func onOneThread(t *testing.T, f func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := spent(t, syscall.RUSAGE_THREAD)
	f()
	return spent(t, syscall.RUSAGE_THREAD) - before
}

// spent is the processor time of this process or thread.
func spent(tb testing.TB, who int) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(who, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// cpuTime is the processor time of this process.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	return spent(tb, syscall.RUSAGE_SELF)
}
