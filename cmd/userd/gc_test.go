package main

import (
	"runtime"
	"testing"
	"time"
)

func TestGCTuner(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	tuner := gcTuner{last: now}
	collect := func(after time.Duration, alive uint64, want int) {
		t.Helper()
		now = now.Add(after)
		if got := tuner.percent(now, alive); got != want {
			t.Errorf("after %v with %d bytes alive it is %d, want %d", after, alive, got, want)
		}
	}
	collect(time.Minute, 8<<20, 100)
	for range busyGCs - 1 {
		collect(10*time.Millisecond, 8<<20, 0)
	}
	collect(3*time.Second, 8<<20, 0) // Neither soon nor late.
	collect(10*time.Millisecond, 8<<20, 400)
	collect(3*time.Second, 16<<20, 200) // It stays busy.
	collect(3*time.Second, 1<<30, 100)
	collect(5*time.Second, 8<<20, 100)
	collect(10*time.Millisecond, 8<<20, 0)
}

func TestAfterGC(t *testing.T) {
	t.Parallel()
	collected := make(chan struct{})
	afterGC(func() {
		select {
		case collected <- struct{}{}:
		case <-t.Context().Done():
		}
	})
	for range 3 {
		for waiting := true; waiting; {
			runtime.GC() // One may come before the last call has returned, and not count.
			select {
			case <-collected:
				waiting = false
			default:
			}
		}
	}
}

func TestWasteMeter(t *testing.T) {
	t.Parallel()
	var meter wasteMeter
	for _, step := range []struct {
		allocated, occupied uint64
		looks               int
		want                bool // At the last look.
	}{
		{50 << 20, 8 << 20, 10, false}, // It is busy at the first.
		{51<<20 - 1, 8 << 20, 1, true},
		{51 << 20, 10 << 20, 20, false}, // 8 MB is what it needed.
		{51 << 20, 10<<20 + 1, 1, true},
		{60 << 20, 30 << 20, 10, false}, // A rush that comes again finds its memory.
		{70 << 20, 30 << 20, 10, false},
		{70 << 20, 30 << 20, 1, true},
	} {
		for look := range step.looks {
			got, last := meter.isWorthIt(step.allocated, step.occupied), look == step.looks-1
			if got != (last && step.want) {
				t.Errorf("after %d bytes, with %d occupied, at look %d: %v", step.allocated, step.occupied, look, got)
			}
		}
		if step.want {
			meter.freed(step.allocated, 8<<20)
		}
	}
}
