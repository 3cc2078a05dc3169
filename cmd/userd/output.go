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

	mu         sync.Mutex
	waiting    []byte
	deliveries []delivery // Of waiting.
	closed     bool
	dropped    int64 // Lines, so far.
	reported   int64 // Of them.
}

// delivery is that somebody wants to hear what becomes of lines.
type delivery struct {
	end  int        // Of the lines, in what is written together with them.
	done chan error // Gets nil when they are written, or why they are not.
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

// deliver is Write for one that wants to hear what becomes of the lines. It drops nothing, but
// fails when there has been no room for them until it is late.
func (o *output) deliver(lines []byte, late <-chan time.Time) (done <-chan error, err error) {
	for {
		if done := o.accept(lines); done != nil {
			o.signal()
			return done, nil
		}
		select {
		case <-o.room:
		case <-late:
			return nil, errNotRead
		}
	}
}

// accept takes lines that are to be delivered, or returns nil where there is no room.
func (o *output) accept(lines []byte) chan error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(o.waiting)+len(lines) > outputBytes {
		return nil
	}
	o.waiting = append(o.waiting, lines...)
	done := make(chan error, 1)
	o.deliveries = append(o.deliveries, delivery{len(o.waiting), done})
	return done
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
		deliveries := o.deliveries
		o.deliveries = nil
		closed := o.closed
		o.mu.Unlock()
		select {
		case o.room <- struct{}{}:
		default: // Nobody has looked yet.
		}
		n, err := o.write(writing)
		for _, d := range deliveries {
			if d.end <= n {
				d.done <- nil
			} else {
				d.done <- err
			}
		}
		if closed {
			return
		}
	}
}

// write writes lines, and says how many were dropped before if that has gone well.
func (o *output) write(lines []byte) (n int, err error) {
	if len(lines) == 0 {
		return 0, nil
	}
	n, err = o.out.Write(lines)
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
	return n, err
}
