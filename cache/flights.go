package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

// flight is one reading of one user for all who miss it at the time. It goes on
// when its callers have left.
type flight struct {
	key    key
	began  int64
	landed chan struct{} // Closed when what follows is set.

	entry     Entry
	asOf      int64 // What was committed before is contained.
	fromStore bool
	err       error

	token string // Of the lease, "" without.
}

// answers reports whether the flight brings what the store said after a time, or at least
// nothing that is older than a floor.
func (f *flight) answers(began int64, floor floor) bool {
	return f.fromStore && f.asOf >= began || floor.allows(f.entry.Found, f.entry.Version)
}

// flights are those under way.
type flights struct {
	mu    sync.Mutex
	byKey map[key]*flight
}

// board returns a flight for each key. Those of the second result are new: the
// caller flies them. A flight that has been under way for longer than joinable is
// not joined.
func (f *flights) board(keys []key, now, joinable int64) (all, own []*flight) {
	all = make([]*flight, len(keys))
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, k := range keys {
		under := f.byKey[k]
		if under == nil || now-under.began > joinable {
			under = &flight{key: k, began: now, landed: make(chan struct{})}
			f.byKey[k] = under
			own = append(own, under)
		}
		all[i] = under
	}
	return all, own
}

// leave removes flights that are over.
func (f *flights) leave(flights []*flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, flight := range flights {
		if f.byKey[flight.key] == flight {
			delete(f.byKey, flight.key)
		}
	}
}

// abort lands a flight that has not landed.
func (f *flight) abort(err error) {
	select {
	case <-f.landed:
	default:
		f.land(Entry{}, 0, true, err)
	}
}

// land gives the callers what the flight brought.
func (f *flight) land(e Entry, asOf int64, fromStore bool, err error) {
	f.entry, f.asOf, f.fromStore, f.err = e, asOf, fromStore, err
	close(f.landed)
}

// carried is a context of the cache with the values of a caller: the span that what is done
// for it belongs to.
type carried struct {
	context.Context
	caller context.Context
}

func (c carried) Value(key any) any {
	if value := c.Context.Value(key); value != nil {
		return value
	}
	return c.caller.Value(key)
}

// fly brings flights home: from the backend where it is trusted and has them,
// else from the store, with a fill where it gave us the lease.
func (c *Cache) fly(ctx context.Context, own []*flight) {
	defer c.flights.leave(own)
	if err := guard.Run(func() { c.flyAll(ctx, own) }); err != nil {
		for _, f := range own {
			f.abort(err)
		}
	}
}

func (c *Cache) flyAll(ctx context.Context, own []*flight) {
	rest, busy := own, []*flight(nil)
	if c.backend.ready() {
		bounded, cancel := context.WithTimeout(ctx, backendBudget)
		defer cancel()
		var claims []claim
		rest, busy, claims = c.fromBackend(bounded, own, c.backend.read)
		if len(claims) > 0 {
			rest, busy = c.acquire(bounded, claims, rest, busy)
		}
		c.home(ctx, rest)
		rest = c.awaitOthers(ctx, busy)
	}
	c.home(ctx, rest)
}

// fromBackend lands what the backend has. It returns the flights for the store,
// those that another's lease holds up, and claims for the leases of slots that are
// empty or corrupt.
func (c *Cache) fromBackend(ctx context.Context, flights []*flight,
	read func(context.Context, []key) ([]reading, error),
) (rest, busy []*flight, claims []claim) {
	var keys []key
	var trusted []*flight
	for _, f := range flights {
		if _, fresh := c.backend.near(f.key); fresh == 0 {
			rest = append(rest, f)
			continue
		}
		keys, trusted = append(keys, f.key), append(trusted, f)
	}
	if len(keys) == 0 {
		return rest, nil, nil
	}
	slots, err := read(ctx, keys)
	if err != nil {
		return flights, nil, nil
	}
	for i, f := range trusted {
		switch h := slots[i]; h.kind {
		case lease:
			busy = append(busy, f)
		case found, tombstone:
			if e, ok := c.allowed(f.key, h.held, h.fresh, 0); ok {
				c.counts.shared.Add(1)
				f.land(e, h.fresh, false, nil)
				continue
			}
			rest = append(rest, f)
			if !h.checked.Load() && !c.check(f.key, h.held) {
				c.counts.corrupt.Add(1)
				claims = append(claims, claim{key: f.key, raw: h.raw})
			}
		case elsewhere:
			rest = append(rest, f)
		default:
			rest = append(rest, f)
			claims = append(claims, claim{key: f.key})
			if h.kind == corrupt {
				c.counts.corrupt.Add(1)
			}
		}
	}
	return rest, busy, claims
}

// acquire asks for leases. Flights that get none are busy.
func (c *Cache) acquire(ctx context.Context, claims []claim, rest, busy []*flight) (_, _ []*flight) {
	for i := range claims {
		token, err := c.token()
		if err != nil {
			return rest, busy
		}
		claims[i].token = token
	}
	granted, err := c.backend.acquire(ctx, claims)
	if err != nil {
		return rest, busy
	}
	tokens := make(map[key]string, len(claims))
	for i, claim := range claims {
		if granted[i] {
			tokens[claim.key] = claim.token
		} else {
			tokens[claim.key] = ""
		}
	}
	var ours []*flight
	for _, f := range rest {
		token, claimed := tokens[f.key]
		if claimed && token == "" {
			busy = append(busy, f)
			continue
		}
		f.token = token
		ours = append(ours, f)
	}
	return ours, busy
}

// awaitOthers lands what others fill within busyWait, and returns the rest.
func (c *Cache) awaitOthers(ctx context.Context, busy []*flight) []*flight {
	if len(busy) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, backendBudget)
	defer cancel()
	rest, still, _ := c.fromBackend(ctx, busy, c.backend.await)
	return append(rest, still...)
}

// home lands flights with what the store says, then fills what we have the lease
// of.
func (c *Cache) home(ctx context.Context, flights []*flight) {
	if len(flights) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeBudget)
	defer cancel()
	keys := make([]key, len(flights))
	for i, f := range flights {
		keys[i] = f.key
	}
	c.counts.misses.Add(int64(len(flights)))
	asOf := c.clock()
	answers, err := c.fromStore(ctx, keys)
	if err != nil {
		if errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("shared read: %w", store.ErrUnavailable)
		}
		for _, f := range flights {
			f.land(Entry{}, 0, true, err)
		}
		return
	}
	var fills []fill
	for i, f := range flights {
		answer := answers[i]
		f.land(answer.entry, asOf, true, answer.err)
		if f.token != "" && answer.err == nil {
			fills = append(fills, fill{f.key, f.token, slotOf(answer.entry)})
		}
	}
	c.fill(fills)
}

// slotOf is the slot for what the store said.
func slotOf(e Entry) slot {
	if !e.Found {
		return newSlot(tombstone, 0, nil)
	}
	return newSlot(found, e.Version, e.Data)
}

// fillLater fills slots while the caller goes on.
func (c *Cache) fillLater(fills []fill) {
	c.wait.Go(func() {
		if err := guard.Run(func() { c.fill(fills) }); err != nil {
			c.config.Logger.Error("fill of the cache panicked", "cause", err.Error())
		}
	})
}

// fill fills slots where the leases are still ours.
func (c *Cache) fill(fills []fill) {
	if len(fills) == 0 || !c.backend.ready() {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, backendBudget)
	defer cancel()
	if lost, err := c.backend.fill(ctx, fills); err == nil {
		c.counts.leasesLost.Add(int64(lost))
	}
}
