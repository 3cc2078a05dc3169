package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// usualGCPercent is what Go has: the heap grows by what is alive.
	usualGCPercent = 100
	// busyGCGrowth is how much the heap of a busy server grows between two
	// collections at least, in bytes.
	busyGCGrowth = 32 << 20
	// A server is busy when busyGCs collections have come within busyGCInterval of
	// the one before, and quiet when one has not for quietTime.
	busyGCs        = 8
	busyGCInterval = 2 * time.Second
	// quietTime is longer than a pause between two rushes. One that finds the memory of
	// the last one given back has half the rate, for as long as it takes to get it again.
	quietTime = 5 * time.Second
)

// gcTuner collects less often while the server is busy. A call makes some kilobytes
// of garbage, and with 8 MB alive the runtime collects after 8 MB: a hundred times a
// second under load, a good part of its time. A quiet server, or one with much
// alive, is collected as usual, so that it uses no more memory than it must. The
// memory limit, where there is one, holds in any case: near it the runtime collects
// more often, whatever the percentage.
type gcTuner struct {
	last  time.Time
	often int // Collections in a row that came soon.
}

// tuneGC tunes the collector of this process, unless GOGC in the environment does.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	tuner := gcTuner{last: time.Now()}
	afterGC(func() {
		alive := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(alive)
		if percent := tuner.percent(time.Now(), alive[0].Value.Uint64()); percent != 0 {
			debug.SetGCPercent(percent)
		}
	})
}

// percent is what GOGC is to be after a collection that has left this much alive, or
// 0 for as it is.
func (t *gcTuner) percent(now time.Time, alive uint64) int {
	interval := now.Sub(t.last)
	t.last = now
	switch {
	case interval >= quietTime:
		t.often = 0
		return usualGCPercent
	case interval < busyGCInterval:
		t.often++
	}
	if t.often < busyGCs {
		return 0
	}
	return max(usualGCPercent, int(busyGCGrowth*100/max(alive, 1<<20)))
}

// afterGC calls f after each collection, on the goroutine of finalizers.
func afterGC(f func()) {
	type sentinel [16]uintptr // Not so small that it shares a block.
	var again func(*sentinel)
	again = func(s *sentinel) {
		f()
		runtime.SetFinalizer(s, again)
	}
	runtime.SetFinalizer(new(sentinel), again)
}

// goMemory is how much of the memory of its container the runtime may have, in bytes; package
// memlimit takes a tenth off it. The rest is for the buffers of the kernel, and for what the
// runtime takes beyond its limit while large messages come.
func goMemory() (uint64, error) {
	const rest = 32 << 20
	all, err := memlimit.FromCgroup()
	return all - min(rest, all/4), err
}

const (
	// memoryInterval is the time between two looks at the memory.
	memoryInterval = 500 * time.Millisecond
	// quietAllocation is what a quiet server allocates between two looks at most, and
	// wastedMemory what is worth to be given back, in bytes.
	quietAllocation = 1 << 20
	wastedMemory    = 2 << 20
)

// returnMemory gives memory back to the system when the server has been quiet for
// quietTime, until ctx ends. The runtime would keep the garbage of the last rush until
// there is more.
func returnMemory(ctx context.Context) {
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	var waste wasteMeter
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if waste.isWorthIt(heapUse()) {
			debug.FreeOSMemory()
			waste.freed(heapUse())
		}
	}
}

// heapUse is how much the process has ever allocated, and how much of the heap it
// occupies, garbage and free spans included, in bytes.
func heapUse() (allocated, occupied uint64) {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	for _, sample := range samples[1:] {
		occupied += sample.Value.Uint64()
	}
	return samples[0].Value.Uint64(), occupied
}

// wasteMeter finds out whether a quiet server occupies more than it needs. What it
// needs is what it occupied when memory was given back last.
type wasteMeter struct {
	allocated, needed uint64
	quiet             int // Looks that found the server quiet, in a row.
}

func (m *wasteMeter) isWorthIt(allocated, occupied uint64) bool {
	m.quiet++
	if allocated-m.allocated >= quietAllocation {
		m.quiet = 0
	}
	m.allocated = allocated
	return m.quiet >= int(quietTime/memoryInterval) && occupied > m.needed+wastedMemory
}

func (m *wasteMeter) freed(allocated, occupied uint64) { m.allocated, m.needed = allocated, occupied }
