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
	collect(200*time.Millisecond, 8<<20, 0) // Neither soon nor late.
	collect(10*time.Millisecond, 8<<20, 400)
	collect(200*time.Millisecond, 16<<20, 200) // It stays busy.
	collect(200*time.Millisecond, 1<<30, 100)
	collect(time.Second, 8<<20, 100)
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
		want                bool
	}{
		{50 << 20, 8 << 20, false}, // It is busy.
		{51<<20 - 1, 8 << 20, true},
		{51 << 20, 10 << 20, false}, // 8 MB is what it needed.
		{51 << 20, 10<<20 + 1, true},
		{60 << 20, 30 << 20, false},
	} {
		if got := meter.isWorthIt(step.allocated, step.occupied); got != step.want {
			t.Errorf("after %d bytes, with %d occupied: %v", step.allocated, step.occupied, got)
		}
		if step.want {
			meter.freed(step.allocated, 8<<20)
		}
	}
}
