// Package idle lets work wait until a process has nothing else to do.
package idle

import (
	"errors"
	"fmt"
	"os"
)

// Gate is where work waits that takes long and need not begin at once. A goroutine that has
// the processor for long keeps everybody else from it, and not for its own time alone: the
// scheduler looks for what sockets have brought when no goroutine is left to run, or else
// some 10 ms later.
type Gate struct{ r, w *os.File }

// New returns a gate, which is to be closed.
func New() (*Gate, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	return &Gate{r: r, w: w}, nil
}

// Await returns when no goroutine was left to run, or some 10 ms later. Its error is
// os.ErrClosed once the gate is closed.
func (g *Gate) Await() error {
	go func() { _, _ = g.w.Write([]byte{0}) }() // If it fails, so does the read.
	if _, err := g.r.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the processor: %w", err)
	}
	return nil
}

// Close ends all that wait.
func (g *Gate) Close() error { return errors.Join(g.r.Close(), g.w.Close()) }
