package postgres

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/example/userd/store"
)

// outageInterval is the least time between two lines about the same cause.
const outageInterval = 10 * time.Second

// outage tells the log why the store is unavailable, which callers are not told, and
// when it answers again.
type outage struct {
	log  *slog.Logger
	down atomic.Bool // The last that the log was told is that the store is unavailable.

	mu   sync.Mutex
	told map[string]time.Time // When a cause was told last. There are as many as there are advices.
}

// see takes note of what became of a call.
func (o *outage) see(ctx context.Context, err error) {
	switch {
	case err == nil:
		if o.down.Load() && o.down.CompareAndSwap(true, false) {
			o.log.InfoContext(ctx, "the database answers again")
		}
	case errors.Is(err, store.ErrUnavailable) && o.due(cmp.Or(advice(err), "unknown")):
		o.down.Store(true)
		o.log.WarnContext(ctx, "the database is unavailable", "cause", oneLine(err))
	}
}

// due reports whether the log is to be told of a cause, now.
func (o *outage) due(cause string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if last, told := o.told[cause]; told && now.Sub(last) < outageInterval {
		return false
	}
	if o.told == nil {
		o.told = make(map[string]time.Time)
	}
	o.told[cause] = now
	return true
}

// oneLine is the text of an error without the line breaks that drivers put between
// hosts.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
