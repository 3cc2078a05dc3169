package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
)

const (
	// flushBytes is how much of a stream of responses is gathered before it is sent.
	flushBytes = 16 << 10
	// flushDelay is how long it may wait for more.
	flushDelay = 2 * time.Millisecond
	// bodyBytes is how much of a stream of requests is read at a time.
	bodyBytes = 16 << 10
)

type streamKey struct{}

// withStreams gathers what streams send and receive in small messages. Connect
// flushes each message that it sends, and reads each that it receives in two
// pieces; both wake the goroutine that serves the connection.
func withStreams(types map[string]connect.StreamType, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := types[r.URL.Path]
		if kind&connect.StreamTypeClient != 0 {
			r.Body = struct {
				io.Reader
				io.Closer
			}{bufio.NewReaderSize(r.Body, bodyBytes), r.Body}
		}
		if kind&connect.StreamTypeServer != 0 {
			gathering := newStreamWriter(w)
			defer gathering.finish()
			r = r.WithContext(context.WithValue(r.Context(), streamKey{}, gathering))
			w = gathering
		}
		next.ServeHTTP(w, r)
	})
}

// streamWriter gathers what is written to a response until there are flushBytes of
// it, flushDelay has passed, or the handler is about to wait. The first message is
// sent at once.
type streamWriter struct {
	http.ResponseWriter
	controller *http.ResponseController

	mu       sync.Mutex
	idle     sync.Cond // When passing ends.
	passing  bool      // Somebody uses the ResponseWriter, without mu.
	gathered []byte    // Of flushBuffers, or nil.
	started  bool      // The first message was sent.
	timer    *time.Timer
	armed    bool
	renewed  time.Time // When the deadline of the response was set; with passing.
	finished bool
	err      error // Of the first write that failed.
}

func newStreamWriter(w http.ResponseWriter) *streamWriter {
	s := &streamWriter{ResponseWriter: w, controller: http.NewResponseController(w)}
	s.idle.L = &s.mu
	return s
}

var flushBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, flushBytes)
	return &b
}}

func (w *streamWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(p) > flushBytes:
		w.send(p)
		return len(p), w.err
	case len(w.gathered)+len(p) > flushBytes:
		w.send(nil)
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.gathered == nil {
		w.gathered = *flushBuffers.Get().(*[]byte)
	}
	w.gathered = append(w.gathered, p...)
	return len(p), nil
}

// Flush implements http.Flusher. It sends the first message, and sees to it that
// others are sent soon.
func (w *streamWriter) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.started:
		w.send(nil)
	case len(w.gathered) == 0: // All is sent.
	case w.timer == nil:
		w.timer, w.armed = time.AfterFunc(flushDelay, w.expire), true
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
		w.send(nil)
	}
}

// send sends what was gathered, then p, and the header before. w.mu is held, but not
// while the response is blocked.
func (w *streamWriter) send(p []byte) {
	w.pass(p, w.controller.Flush)
}

func (w *streamWriter) pass(p []byte, flush func() error) {
	for w.passing {
		w.idle.Wait()
	}
	if w.err != nil {
		return
	}
	gathered := w.gathered
	w.started = w.started || len(gathered)+len(p) > 0
	w.passing, w.gathered = true, nil
	w.mu.Unlock()
	w.renew()
	err := write(w.ResponseWriter, gathered)
	if err == nil {
		err = write(w.ResponseWriter, p)
	}
	if err == nil {
		err = flush()
	}
	if gathered != nil {
		gathered = gathered[:0]
		flushBuffers.Put(&gathered)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errSlowConsumer
	}
	w.mu.Lock()
	w.passing, w.err = false, err
	w.idle.Broadcast()
}

// renew moves the deadline of the response.
func (w *streamWriter) renew() {
	if now := time.Now(); now.Sub(w.renewed) >= sendTimeoutRenewal {
		// A connection without deadlines is closed by its server instead.
		_ = w.controller.SetWriteDeadline(now.Add(sendTimeout))
		w.renewed = now
	}
}

func write(w io.Writer, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// finish ends the response. The ResponseWriter is not used after it.
func (w *streamWriter) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finished = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.pass(nil, func() error { return nil }) // It is flushed with the end of the stream.
}

// Unwrap lets http.ResponseController reach the connection.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// flush sends what the stream of a call has gathered. Handlers that are about to
// wait for something call it.
func flush(ctx context.Context) error {
	w, ok := ctx.Value(streamKey{}).(*streamWriter)
	if !ok {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.gathered) > 0 {
		w.send(nil)
	}
	return w.err
}
