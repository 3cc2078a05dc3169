package users

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/store"
)

const (
	// gateRoom is the most watchers that catch up at a time. One that waits takes some
	// 45 KB.
	gateRoom = 2_048
	// gateWork is how long turns may keep the processors busy until the gate is closed
	// for as long.
	gateWork = time.Millisecond
	// gateWorth is how many pages a watcher must be likely to get before its deadline.
	gateWorth = 16
)

// gate is where watchers that catch up wait for their turns, one page each, in order. There
// is no end to what they could be sent, so they get what others leave: half of the time at
// most, and then only when no goroutine is left that could run. Thousands that were free to
// run would stand before the goroutines of all other calls.
type gate struct {
	turn chan struct{} // Holds whoever has the turn; those who wait for it are served in order.
	r, w *os.File      // A pipe, see awaitIdle.
	work time.Duration // Of turns since the gate was last closed. Belongs to whoever has the turn.

	mu     sync.Mutex
	inside int           // Watchers that wait for their pages.
	served time.Time     // When the last of them had its page.
	pace   time.Duration // Between two of them, of late.
}

func newGate() (*gate, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	return &gate{turn: make(chan struct{}, 1), r: r, w: w}, nil
}

func (g *gate) close() { _ = errors.Join(g.r.Close(), g.w.Close()) } // Nobody is there any more.

// takes returns store.ErrOverloaded where one more watcher would get too little: nothing
// before it is due a heartbeat, or too few pages before its deadline.
func (g *gate) takes(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	round := time.Duration(g.inside) * g.pace
	if g.inside >= gateRoom || round > watchInterval {
		return store.ErrOverloaded
	}
	deadline, ok := ctx.Deadline()
	if left := time.Until(deadline); ok && left > 0 && left < gateWorth*round {
		return store.ErrOverloaded
	}
	return nil
}

// enter notes that a watcher waits for a page, and leave that it has it or waits no longer.
func (g *gate) enter() (at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside++
	return time.Now()
}

func (g *gate) leave(entered time.Time, served bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if !served {
		return
	}
	if entered.Before(g.served) {
		entered = g.served
	}
	g.served = time.Now()
	// Many may have waited for one page, so it takes a round to tell the pace.
	g.pace += (g.served.Sub(entered) - g.pace) / time.Duration(max(g.inside, 16))
}

// awaitTurn returns when it is the caller's turn, which ends with that: the next one begins
// when the caller has nothing left to do.
func (g *gate) awaitTurn(ctx context.Context) error {
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-g.turn }()
	began := time.Now()
	if err := g.awaitIdle(); err != nil {
		return err
	}
	if g.work += time.Since(began); g.work >= gateWork {
		time.Sleep(gateWork)
		g.work = 0
	}
	return nil
}

// awaitIdle returns when no goroutine was left to run, or some 10 ms later: that is when the
// scheduler looks for what can be read.
func (g *gate) awaitIdle() error {
	go func() { _, _ = g.w.Write([]byte{0}) }() // If it fails, so does the read.
	_, err := g.r.Read(make([]byte, 1))
	switch {
	case errors.Is(err, os.ErrClosed):
		return failure.ErrDraining
	case err != nil:
		return fmt.Errorf("wait for the processor: %w", err)
	}
	return nil
}
