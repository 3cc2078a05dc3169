package failure

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/example/userd/store"
)

// causeInterval is the time after which the same cause is logged again.
const causeInterval = time.Minute

// causeLog says why calls are answered with UNAVAILABLE, each cause once in a while:
// callers are not told, and while a database is away all calls have one cause.
type causeLog struct {
	logger *slog.Logger

	mu     sync.Mutex
	logged map[string]time.Time
}

// log names the cause of err where it has one that an operator can do something about.
func (c *causeLog) log(ctx context.Context, err error) {
	unavailable := new(store.UnavailableError)
	if !errors.As(err, &unavailable) || !c.due(unavailable.Cause, time.Now()) {
		return
	}
	c.logger.ErrorContext(ctx, "store is unavailable", "cause", unavailable.Error())
}

// due reports whether a cause has not been logged for a while. Causes are few: each
// is a text of ours.
func (c *causeLog) due(cause string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.logged[cause]; ok && now.Sub(last) < causeInterval {
		return false
	}
	if c.logged == nil {
		c.logged = make(map[string]time.Time)
	}
	c.logged[cause] = now
	return true
}
