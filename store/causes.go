package store

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// causeInterval is the least time between two lines about the same cause.
const causeInterval = 10 * time.Second

// Call is a kind of call. A database whose disk is full answers those that read.
type Call int

// The kinds of calls.
const (
	Reading Call = iota
	Writing
)

// Causes tells the log why calls of a store fail, which their callers are not told, and
// when the store answers again. An engine shows it what became of each call, and what
// was written. The zero value with a Logger is ready.
type Causes struct {
	Logger *slog.Logger

	down [2]atomic.Bool // By Call: the last that the log was told is that they fail.

	mu   sync.Mutex
	told map[string]time.Time // When a cause was told last. Causes are few: each is a text of ours.
}

// See takes note of what became of a call. That one which writes has not failed says little:
// it may have found nothing to change, for which a full disk has room.
func (c *Causes) See(ctx context.Context, call Call, err error) {
	if err == nil {
		if call == Reading {
			c.answers(ctx, call)
		}
		return
	}
	why := new(CauseError)
	if !errors.As(err, &why) || !c.due(why.Cause, time.Now()) {
		return
	}
	if errors.Is(why.Kind, ErrUnavailable) {
		c.down[call].Store(true)
		c.Logger.ErrorContext(ctx, "store is unavailable", "cause", why.Error())
		return
	}
	c.Logger.WarnContext(ctx, "store answers too late", "cause", why.Error())
}

// Wrote takes note that something was written.
func (c *Causes) Wrote(ctx context.Context) { c.answers(ctx, Writing) }

func (c *Causes) answers(ctx context.Context, call Call) {
	if c.down[call].Load() && c.down[call].CompareAndSwap(true, false) {
		c.Logger.InfoContext(ctx, "store answers again")
	}
}

// due reports whether the log is to be told of a cause, now.
func (c *Causes) due(cause string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, told := c.told[cause]; told && now.Sub(last) < causeInterval {
		return false
	}
	if c.told == nil {
		c.told = make(map[string]time.Time)
	}
	c.told[cause] = now
	return true
}
