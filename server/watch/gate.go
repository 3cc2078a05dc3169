package watch

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/store"
	"github.com/example/userd/store/idle"
)

const (
	// gateRoom is the most watchers that wait for a turn. One takes some 45 KB.
	gateRoom = 2_048
	// gateWork is how long turns may keep the processors busy until the gate is closed
	// for as long.
	gateWork = time.Millisecond
	// gatePages is how many pages a watcher gets before others that have come later. They
	// fit into what the feed keeps, so that those who come next, within feedTime, need not
	// read them again.
	gatePages = 16
	// gatePatience is how long a watcher may have to wait for its first page, as calls that are
	// admitted do at most.
	gatePatience = time.Second
)

// gate is where watchers that catch up wait for their turns, one page each. There is no end
// to what they could be sent, so they get what others leave: half of the time at most, and
// then only when no goroutine is left that could run. Thousands that were free to run would
// stand before the goroutines of all other calls.
//
// Who has come first is served first, for gatePages or until it has caught up: if all got a
// page in turn, nobody would be done before its deadline where there are too many.
type gate struct {
	idle *idle.Gate
	work time.Duration // Of turns since the gate was last closed. Belongs to whoever has the turn.

	mu      sync.Mutex
	taken   bool          // Somebody has the turn.
	waiting []*visit      // In the order of their numbers.
	last    int64         // Number that was given.
	ended   time.Time     // The last turn; zero where nobody waited then.
	pace    time.Duration // From one turn's end to the next one's while some wait, of late.
	stay    float64       // How many pages a watcher gets before it is behind others, of late.
	refused int64
}

// visit is a watcher that catches up.
type visit struct {
	gate     *gate
	deadline time.Time // Zero for none.
	since    time.Time
	told     chan error
	served   bool  // It has had a turn.
	number   int64 // Its place among the others. 0 for none.
	pages    int   // That it has got at this place.
}

func newGate() (*gate, error) {
	processor, err := idle.New()
	if err != nil {
		return nil, err
	}
	return &gate{idle: processor}, nil
}

func (g *gate) close() { _ = g.idle.Close() } // Nobody is there any more.

// stats returns how many watchers wait for a turn, and how many were refused so far.
func (g *gate) stats() (waiting int, refused int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting), g.refused
}

// takes returns store.ErrOverloaded where one more watcher would wait for too long: for
// gatePatience, or for half of the time that it has.
func (g *gate) takes(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait := g.wait(len(g.waiting))
	deadline, ok := ctx.Deadline()
	left := time.Until(deadline)
	if len(g.waiting) >= gateRoom || wait > gatePatience || ok && left > 0 && wait > left/2 {
		g.refused++
		return store.ErrOverloaded
	}
	return nil
}

// wait is how long it takes until so many watchers are served. g.mu is held.
func (g *gate) wait(watchers int) time.Duration {
	return time.Duration(float64(watchers) * g.stay * float64(g.pace))
}

// visit is for a watcher whose calls end with ctx. It must be left.
func (g *gate) visit(ctx context.Context) *visit {
	v := &visit{gate: g, since: time.Now(), told: make(chan error, 1)}
	v.deadline, _ = ctx.Deadline()
	return v
}

// leave gives up the place of a watcher, which has caught up or goes.
func (v *visit) leave() {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	v.giveUp()
}

// giveUp gives up its place. g.mu is held.
func (v *visit) giveUp() {
	if g := v.gate; v.pages > 0 && (!v.isLate() || float64(v.pages) > g.stay) {
		g.stay += (float64(v.pages) - g.stay) / 16
	}
	v.number, v.pages = 0, 0
}

// isLate reports whether its time is up, or nearly: what it got then says nothing of what it
// wanted. Callers end a call before its deadline has come here.
func (v *visit) isLate() bool {
	return !v.deadline.IsZero() && time.Until(v.deadline) < v.deadline.Sub(v.since)/8
}

// turn calls read when it is the watcher's turn and no goroutine was left to run.
func (v *visit) turn(ctx context.Context, read func() error) error {
	g := v.gate
	if err := v.await(ctx); err != nil {
		return err
	}
	defer g.pass()
	began := time.Now()
	if err := g.awaitIdle(); err != nil {
		return err
	}
	if g.work += time.Since(began); g.work >= gateWork {
		time.Sleep(gateWork)
		g.work = 0
	}
	began = time.Now()
	defer func() { g.work += time.Since(began) }()
	return read()
}

// await returns when the watcher has the turn, which it must pass on.
func (v *visit) await(ctx context.Context) error {
	v.gate.queue(v)
	select {
	case err := <-v.told:
		return err
	case <-ctx.Done():
		return v.withdraw(ctx)
	}
}

// queue gives a watcher the turn, or lets it wait at its place.
func (g *gate) queue(v *visit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.pages >= gatePages {
		v.giveUp()
	}
	if v.number == 0 {
		g.last++
		v.number = g.last
	}
	if !g.taken {
		g.ended = time.Time{} // Nobody has waited for the turn before.
		g.give(v)
		return
	}
	at, _ := slices.BinarySearchFunc(g.waiting, v.number, func(v *visit, number int64) int { return cmp.Compare(v.number, number) })
	g.waiting = slices.Insert(g.waiting, at, v)
}

// withdraw takes a watcher that goes out of those who wait.
func (v *visit) withdraw(ctx context.Context) error {
	g := v.gate
	g.mu.Lock()
	at := slices.Index(g.waiting, v)
	if at >= 0 {
		g.waiting = slices.Delete(g.waiting, at, at+1)
	}
	g.mu.Unlock()
	if at < 0 && <-v.told == nil {
		g.pass()
	}
	return ctx.Err()
}

// pass passes the turn on to the first who waits. Those who have got nothing yet, and could
// not be served before their deadlines, are refused.
func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if !g.ended.IsZero() {
		g.pace += (now.Sub(g.ended) - g.pace) / 32 // One that is slow is no reason to refuse others.
	}
	g.ended, g.taken = now, false
	for len(g.waiting) > 0 && !g.taken {
		v := g.waiting[0]
		g.waiting = slices.Delete(g.waiting, 0, 1)
		if g.isTooLate(v, now) {
			g.refused++
			v.told <- store.ErrOverloaded
			continue
		}
		g.give(v)
	}
}

// isTooLate reports whether a watcher would begin what it could not end before its deadline:
// while it sends a page another has a turn.
func (g *gate) isTooLate(v *visit, now time.Time) bool {
	return !v.served && !v.deadline.IsZero() && v.deadline.Sub(now) < g.wait(2)
}

// give gives the turn to a watcher. g.mu is held.
func (g *gate) give(v *visit) {
	g.taken, v.served = true, true
	v.pages++
	v.told <- nil
}

// awaitIdle returns when no goroutine was left to run, or some 10 ms later.
func (g *gate) awaitIdle() error {
	err := g.idle.Await()
	if errors.Is(err, os.ErrClosed) {
		return failure.ErrDraining
	}
	return err
}
