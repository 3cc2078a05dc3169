package main

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// outputBytes is how much of what is written may wait for its reader, in bytes.
	outputBytes = 1 << 20
	// outputFlush is how long the last lines may take to leave at the end.
	outputFlush = time.Second
)

// output is a writer of lines that neither waits for its reader nor fails without
// one. What a reader does not take is kept, up to a bound; then lines are dropped.
type output struct {
	out       io.Writer
	onDropped func(lines int64) // Called when lines can be written again.
	wake      chan struct{}     // Has an element when there is something to do.
	done      chan struct{}     // Closed when the writer has ended.
	room      chan struct{}     // Has an element when there may be room again.

	mu       sync.Mutex
	waiting  []byte
	closed   bool
	dropped  int64 // Lines, so far.
	reported int64 // Of them.
}

func newOutput(out io.Writer) *output {
	o := &output{out: out, onDropped: func(int64) {}, wake: make(chan struct{}, 1), done: make(chan struct{}), room: make(chan struct{}, 1)}
	go o.run()
	return o
}

// Write takes whole lines. It never blocks and never fails.
func (o *output) Write(lines []byte) (int, error) {
	o.mu.Lock()
	if o.closed || len(o.waiting)+len(lines) > outputBytes {
		o.dropped += countLines(lines)
	} else {
		o.waiting = append(o.waiting, lines...)
	}
	o.mu.Unlock()
	o.signal()
	return len(lines), nil
}

// errNotRead is that nobody reads an output.
var errNotRead = errors.New("nobody reads the log")

// writePatiently is Write for one that can wait for a while: it drops nothing, but fails
// when there is no room in all that time.
func (o *output) writePatiently(lines []byte, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		o.mu.Lock()
		fits := !o.closed && len(o.waiting)+len(lines) <= outputBytes
		if fits {
			o.waiting = append(o.waiting, lines...)
		}
		o.mu.Unlock()
		if fits {
			o.signal()
			return nil
		}
		select {
		case <-o.room:
		case <-timer.C:
			return errNotRead
		}
	}
}

func countLines(lines []byte) int64 { return int64(bytes.Count(lines, []byte{'\n'})) }

func (o *output) signal() {
	select {
	case o.wake <- struct{}{}:
	default: // It is awake already.
	}
}

// Dropped is the number of lines so far that nobody has read.
func (o *output) Dropped() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}

// Close writes what is left, for as long as the end may take.
func (o *output) Close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.signal()
	select {
	case <-o.done:
	case <-time.After(outputFlush): // Nobody reads: what is left is lost.
	}
}

// closeOutputs closes all at once, since each may take its time.
func closeOutputs(outputs ...*output) {
	var group sync.WaitGroup
	for _, o := range outputs {
		group.Go(o.Close)
	}
	group.Wait()
}

func (o *output) run() {
	defer close(o.done)
	var writing []byte
	for range o.wake {
		o.mu.Lock()
		writing, o.waiting = o.waiting, writing[:0]
		closed := o.closed
		o.mu.Unlock()
		select {
		case o.room <- struct{}{}:
		default: // Nobody has looked yet.
		}
		o.write(writing)
		if closed {
			return
		}
	}
}

// write writes lines, and says how many were dropped before if that has gone well.
func (o *output) write(lines []byte) {
	if len(lines) == 0 {
		return
	}
	n, err := o.out.Write(lines)
	o.mu.Lock()
	if err != nil {
		o.dropped += countLines(lines[n:])
	}
	dropped := o.dropped - o.reported
	if err == nil {
		o.reported = o.dropped
	}
	o.mu.Unlock()
	if err == nil && dropped > 0 {
		o.onDropped(dropped)
	}
}
