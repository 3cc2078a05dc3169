package gather

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/lane"
	"github.com/example/userd/store/guard"
)

const (
	// flushBytes is how much of a stream of responses is gathered before it is sent.
	// It is also what the server holds of a stream that its caller does not read. So a
	// stream gathers openingFlushBytes only until openingBytes of it, which is the flow
	// control window that most callers begin with, have been taken.
	flushBytes, openingFlushBytes, openingBytes = 16 << 10, 2 << 10, 64 << 10
	// flushDelay is how long it may wait for more.
	flushDelay = 2 * time.Millisecond
)

type streamKey struct{}

// unbuffered has nginx pass on what it gets of a stream, which it would else gather until it has
// some kilobytes, unless its settings say otherwise. It speaks HTTP/1 to servers of all that is not
// gRPC.
var unbuffered = []string{"no"}

// Streams gathers what streams of responses send in small messages. Connect flushes each
// message, which wakes the goroutine that serves the connection. A stream whose caller does
// not read for sendTimeout ends with failure.ErrSlowConsumer; slowreader.go has how.
func Streams(types map[string]connect.StreamType, sendTimeout time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if types[r.URL.Path]&connect.StreamTypeServer == 0 {
				next.ServeHTTP(w, r)
				return
			}
			if r.ProtoMajor == 1 {
				w.Header()["X-Accel-Buffering"] = unbuffered
			}
			gathering := newStreamWriter(w, sendTimeout)
			defer gathering.finish()
			next.ServeHTTP(gathering, r.WithContext(context.WithValue(r.Context(), streamKey{}, gathering)))
		})
	}
}

// streamWriter gathers what is written to a response until its buffer is full,
// flushDelay has passed, or the handler is about to wait. The first message is
// sent at once.
type streamWriter struct {
	http.ResponseWriter
	controller *http.ResponseController
	timeout    time.Duration // That a message may wait for its reader.
	resumer    writeResumer  // Of the transport, or nil.

	mu       sync.Mutex
	passed   sync.Cond // When passing ends.
	passing  bool      // Somebody uses the ResponseWriter, without mu.
	gathered []byte    // Of flushBuffers, or nil.
	whole    int       // How much of it is whole messages.
	taken    int       // Bytes that the ResponseWriter has taken.
	torn     bool      // The last of them is in the middle of a message.
	wrote    bool
	started  bool // The first message was sent.
	timer    *time.Timer
	armed    bool
	renewed  time.Time // When the deadline of the response was set; with passing.
	idle     *time.Timer
	lifting  bool // The deadline is to be lifted.
	finished bool
	slow     bool  // The reader has let something wait for too long.
	late     bool  // The handler is to be told that it is slow, and may say it to the caller.
	err      error // Of the first write that failed, and all that follow.
}

func newStreamWriter(w http.ResponseWriter, timeout time.Duration) *streamWriter {
	s := &streamWriter{ResponseWriter: w, controller: http.NewResponseController(w), timeout: timeout}
	s.resumer, _ = lane.WriterOf[writeResumer](w)
	s.passed.L = &s.mu
	return s
}

// flushBuffers are buffers by their capacity.
var flushBuffers = map[int]*sync.Pool{
	openingFlushBytes: newFlushBuffers(openingFlushBytes), flushBytes: newFlushBuffers(flushBytes),
}

func newFlushBuffers(size int) *sync.Pool {
	return &sync.Pool{New: func() any {
		b := make([]byte, 0, size)
		return &b
	}}
}

// buffer returns an empty buffer for what is gathered next.
func (w *streamWriter) buffer() []byte {
	size := flushBytes
	if w.taken < openingBytes {
		size = openingFlushBytes
	}
	return *flushBuffers[size].Get().(*[]byte)
}

func (w *streamWriter) Write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote = true
	for n < len(p) && w.err == nil && !w.late {
		if w.passing { // A second buffer is of no use to a caller that does not read.
			w.passed.Wait()
			continue
		}
		if w.gathered == nil {
			w.gathered = w.buffer()
		}
		if len(w.gathered)+len(p)-n > cap(w.gathered) && w.whole > 0 {
			w.send()
			continue
		}
		more := min(len(p)-n, cap(w.gathered)-len(w.gathered))
		w.gathered = append(w.gathered, p[n:n+more]...)
		n += more
		if len(w.gathered) == cap(w.gathered) && w.whole == 0 {
			w.send()
		}
	}
	return n, w.report()
}

// Flush implements http.Flusher. It sends the first message, and sees to it that
// others are sent soon.
func (w *streamWriter) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.started {
		w.started, w.whole = w.wrote, len(w.gathered)
		w.send()
		return
	}
	w.sendSoon()
}

// sendSoon sees to it that what was gathered, which ends with a message, is sent within
// flushDelay. w.mu is held.
func (w *streamWriter) sendSoon() {
	w.whole = len(w.gathered)
	switch {
	case w.whole == 0: // All is sent.
	case w.timer == nil:
		w.timer, w.armed = guard.Timer(flushDelay, w.expire), true
	case !w.armed:
		w.timer.Reset(flushDelay)
		w.armed = true
	}
}

// expire sends what has waited for flushDelay. While the handler itself is sending
// there is nothing that waits.
func (w *streamWriter) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	if !w.finished && !w.passing && len(w.gathered) > 0 {
		w.send()
	}
}

// send sends the messages that were gathered, and the header before; a part of a message
// only where it fills the buffer. When a caller reads no more, its stream then ends with a
// whole message, and the caller sees why. w.mu is held, but not while the response is blocked.
func (w *streamWriter) send() {
	var rest []byte
	if w.whole > 0 {
		rest = bytes.Clone(w.gathered[w.whole:])
		w.gathered = w.gathered[:w.whole]
	}
	w.pass(w.controller.Flush)
	if len(rest) > 0 {
		w.gathered = append(w.buffer(), rest...)
	}
}

// pass hands what was gathered to the ResponseWriter, and flushes it.
func (w *streamWriter) pass(flush func() error) {
	for w.passing {
		w.passed.Wait()
	}
	if w.err != nil || w.late {
		return
	}
	gathered, whole := w.gathered, w.whole == len(w.gathered)
	w.passing, w.gathered, w.whole = true, nil, 0
	w.mu.Unlock()
	w.renew()
	err := w.hand(gathered, flush)
	sent := 0
	if gathered != nil && err == nil { // After a failure net/http may still be reading it.
		sent = len(gathered)
		gathered = gathered[:0]
		flushBuffers[cap(gathered)].Put(&gathered)
	}
	waited := time.Since(w.renewed)
	w.mu.Lock()
	w.passing = false
	if sent > 0 {
		w.taken, w.torn = w.taken+sent, !whole
	}
	w.judge(err, waited)
	w.passed.Broadcast()
	if w.lifting {
		w.lift()
	}
}

// hand writes to the ResponseWriter. A panic in there must not end the process where a
// timer has called.
func (w *streamWriter) hand(gathered []byte, flush func() error) (err error) {
	defer guard.Recover(&err)
	if gathered != nil {
		if _, err := w.ResponseWriter.Write(gathered); err != nil {
			return err
		}
	}
	return flush()
}

// finish ends the response. The ResponseWriter is not used after it.
func (w *streamWriter) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finished = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.pass(func() error { return nil }) // It is flushed with the end of the stream.
	if w.idle != nil {
		w.idle.Stop()
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends what the stream of a call has gathered. Handlers that are about to
// wait for something call it.
func Flush(ctx context.Context) error {
	w, ok := ctx.Value(streamKey{}).(*streamWriter)
	if !ok {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.gathered) > 0 {
		w.send()
	}
	if w.armed && len(w.gathered) == 0 && w.timer.Stop() {
		w.armed = false // Or it would wake a goroutine for nothing.
	}
	return w.report()
}
