package cache

import (
	"sync"
	"sync/atomic"
	"time"
)

// jitter is how far two clocks that are read one after the other may seem to have moved apart.
const jitter = int64(20 * time.Millisecond)

// clock counts nanoseconds since it was made. It goes on while the machine is suspended, in
// which Go's monotonic clock stands still on most systems: what the wall clock has gained on
// that one counts, too. Where the wall clock is only set to a later time this one is ahead,
// which does no harm: all that is cached is taken for older until the next heartbeat. A wall
// clock that is set to an earlier time has no effect.
type clock struct {
	now   func() time.Time
	start time.Time
	wall  int64 // Of start.

	mu     sync.Mutex   // Of changes of what follows.
	ahead  atomic.Int64 // What the wall clock had gained in all when that was looked at last.
	gained atomic.Int64 // The same without what it has lost.
}

func newClock(now func() time.Time) *clock {
	start := now().Add(-1) // So that no time is 0.
	return &clock{now: now, start: start, wall: start.UnixNano()}
}

// read returns the time, never 0, and never less than before.
func (c *clock) read() int64 {
	now := c.now()
	passed := int64(now.Sub(c.start))
	ahead := now.UnixNano() - c.wall - passed
	if moved := ahead - c.ahead.Load(); moved > jitter || moved < -jitter {
		c.moved(ahead)
	}
	return passed + c.gained.Load()
}

// moved takes what the wall clock has gained in all.
func (c *clock) moved(ahead int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gained := ahead - c.ahead.Load(); gained > 0 {
		c.gained.Add(gained) // Before it counts as looked at, so that nobody reads an earlier time.
	}
	c.ahead.Store(ahead)
}
