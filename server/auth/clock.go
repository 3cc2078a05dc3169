package auth

import (
	"context"
	"sync/atomic"
	"time"
)

// clockInterval is how late a clock may be.
const clockInterval = 100 * time.Millisecond

// clock tells the time for less than time.Now costs, while somebody runs it: it is looked at
// with every call.
type clock struct{ seconds atomic.Int64 } // Of Unix; 0 while nobody runs it.

func (c *clock) now() int64 {
	if seconds := c.seconds.Load(); seconds != 0 {
		return seconds
	}
	return time.Now().Unix()
}

func (c *clock) run(ctx context.Context) {
	ticker := time.NewTicker(clockInterval)
	defer ticker.Stop()
	defer c.seconds.Store(0)
	for {
		c.seconds.Store(time.Now().Unix())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
