package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// defaultGCPercent is what Go has: the heap grows by what is alive.
	defaultGCPercent = 100
	// minGCGrowth is how much the heap grows between two collections at least, in
	// bytes. A service with little alive would collect its garbage, of which a call
	// makes some kilobytes, hundreds of times a second: a third of its time.
	minGCGrowth = 32 << 20
)

// tuneGC lets the heap grow by what is alive, but by at least minGCGrowth: a small
// service then uses up to minGCGrowth more than it would, and a large one the same.
// GOGC in the environment turns that off. The memory limit, where there is one, holds
// in any case: near it the runtime collects more often, whatever the percentage.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	adjustGC()
	afterGC(adjustGC)
}

// adjustGC sets the percentage for what was alive at the last collection.
func adjustGC() {
	alive := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(alive)
	debug.SetGCPercent(gcPercent(alive[0].Value.Uint64()))
}

func gcPercent(alive uint64) int {
	const smallest = 4 << 20 // Bytes that are alive when the runtime has not counted yet.
	return max(defaultGCPercent, int(minGCGrowth*100/max(alive, smallest)))
}

// afterGC calls f after each collection, on the goroutine of finalizers.
func afterGC(f func()) {
	// Not tiny: those share a block, which could live on.
	type sentinel [16]uintptr
	var again func(*sentinel)
	again = func(s *sentinel) {
		f()
		runtime.SetFinalizer(s, again)
	}
	runtime.SetFinalizer(new(sentinel), again)
}
