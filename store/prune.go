package store

import (
	"context"
	"fmt"
	"time"
)

// Span is when the changes in the log were made: the time of the oldest and of the
// newest, both zero where there are none. A few that a clock gone wrong has
// left at an end of the log may lie outside. Now is the time by the database's clock.
type Span struct {
	Oldest, Newest, Now time.Time
}

// pruneStep is how much of the log one call of Pruner.Prune removes at most. Called
// every ten minutes it keeps up with any log, and a clock that has jumped ahead is
// noticed long before it costs those their place who read the log now and then.
const pruneStep = time.Hour

// Pruner removes old changes from the log of a store. It trusts no clock alone. The
// age of a change counts from the earliest of these:
//   - the newest change in the log,
//   - the time now by the database's clock,
//   - the newest change when the Pruner first looked, and the time that has passed since.
//
// So a server that starts with its clock ten days ahead does not take the log from
// the others. Where the log already has changes from a clock that was ahead, no call
// removes more than the changes of an hour.
type Pruner struct {
	Store     Store
	Retention time.Duration // Age from which changes are removed.

	newest time.Time // When the Pruner first looked, at the time looked.
	looked time.Time // Has a monotonic clock reading: it passes as time does.
}

// Prune removes changes that are too old, and returns how many. Its calls are [Vital]:
// it goes on under any load. It may be called by one goroutine at a time.
func (p *Pruner) Prune(ctx context.Context) (int64, error) {
	ctx = Vital(ctx)
	span, err := p.Store.Span(ctx)
	if err != nil {
		return 0, fmt.Errorf("prune old changes: %w", err)
	}
	return p.Store.Prune(ctx, p.before(span))
}

// before is the time before which changes are removed.
func (p *Pruner) before(span Span) time.Time {
	if p.newest.IsZero() {
		p.newest, p.looked = earliest(span.Newest, span.Now), time.Now()
	}
	passed := p.newest.Add(time.Since(p.looked))
	end := earliest(span.Newest, span.Now, passed).Add(-p.Retention)
	return earliest(end, span.Oldest.Add(pruneStep))
}

func earliest(times ...time.Time) time.Time {
	first := times[0]
	for _, t := range times {
		if t.Before(first) {
			first = t
		}
	}
	return first
}
