package main

import (
	"runtime"
	"testing"
)

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for alive, want := range map[uint64]int{0: 800, 4 << 20: 800, 8 << 20: 400, 32 << 20: 100, 1 << 30: 100} {
		if got := gcPercent(alive); got != want {
			t.Errorf("with %d bytes alive it is %d, want %d", alive, got, want)
		}
	}
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
		runtime.GC()
		<-collected
	}
}
