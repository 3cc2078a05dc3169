package body

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/lane"
	"github.com/example/userd/store/guard"
)

// RefuseSlow ends requests that do not come in time. Streams of requests may be
// silent for as long as they like, between messages: see AwaitMessages. Over HTTP/1.1, what
// handlers leave of a body is read by net/http itself, within the same time: see
// ReadTimeout of http.Server.
func RefuseSlow(types map[string]connect.StreamType, arrivals *Arrivals) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if types[r.URL.Path]&connect.StreamTypeClient == 0 && r.ContentLength != 0 {
				body := &hurriedBody{ReadCloser: r.Body, request: *r, arrivals: arrivals}
				body.controller = http.NewResponseController(w)
				body.request.Body = body
				arrivals.expect(body)
				defer body.finish()
				r = &body.request
			}
			next.ServeHTTP(w, r)
		})
	}
}

// hurriedBody is the body of a request that must come in time.
type hurriedBody struct {
	io.ReadCloser
	arrival               // Its controller is not to be used any more when the body is not expected.
	request  http.Request // A copy of the request, with this body. See lane.WithBody.
	arrivals *Arrivals

	expected       bool
	due            time.Time
	previous, next *hurriedBody
}

func (b *hurriedBody) Read(p []byte) (int, error) {
	n, err := b.read(b.ReadCloser, p)
	switch {
	case err == io.EOF:
		b.finish()
	case errors.Is(err, os.ErrDeadlineExceeded) && b.arrivals.stopping.Load(): // The engine's, for what had come in part.
		err = failure.ErrDraining
	}
	return n, err
}

func (b *hurriedBody) finish() {
	b.arrivals.mu.Lock()
	defer b.arrivals.mu.Unlock()
	b.arrivals.remove(b)
}

// Arrivals are the bodies that are expected, those that are due first before. One
// timer for all is cheaper than one for each, and both than a deadline of the
// connection, which most requests would set for nothing.
type Arrivals struct {
	timeout time.Duration

	mu          sync.Mutex
	first, last *hurriedBody
	timer       *time.Timer
	armed       bool // The timer runs, until the first body is due or sooner.
	patient     map[*patientBody]struct{}

	stopping atomic.Bool
}

// NewArrivals gives each request so long to come.
func NewArrivals(timeout time.Duration) *Arrivals {
	return &Arrivals{timeout: timeout, patient: make(map[*patientBody]struct{})}
}

func (a *Arrivals) expect(b *hurriedBody) {
	b.expected, b.due = true, time.Now().Add(a.timeout)
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.previous = a.last; a.last != nil {
		a.last.next = b
	} else {
		a.first = b
	}
	a.last = b
	switch {
	case a.timer == nil:
		a.timer = guard.Timer(a.timeout, a.expire)
	case !a.armed:
		a.timer.Reset(a.timeout)
	}
	a.armed = true
}

// remove forgets a body. a.mu is held.
func (a *Arrivals) remove(b *hurriedBody) {
	if !b.expected {
		return
	}
	b.expected = false
	if b.previous != nil {
		b.previous.next = b.next
	} else {
		a.first = b.next
	}
	if b.next != nil {
		b.next.previous = b.previous
	} else {
		a.last = b.previous
	}
}

// expire ends the bodies that are due.
func (a *Arrivals) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for a.first != nil && !a.first.due.After(now) {
		_ = a.first.controller.SetReadDeadline(now) // A connection without deadlines is closed by its server instead.
		a.remove(a.first)
	}
	if a.armed = a.first != nil; a.armed {
		a.timer.Reset(a.first.due.Sub(now))
	}
}

// bodyBytes is how much of a stream of requests is read at a time. Connect reads each
// message in two pieces, each of which would wake the goroutine that serves the connection.
const bodyBytes = 16 << 10

// AwaitMessages lets streams of requests be silent between messages, and reads them in
// larger pieces than those.
func AwaitMessages(types map[string]connect.StreamType, arrivals *Arrivals) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if types[r.URL.Path]&connect.StreamTypeClient != 0 {
				body := newPatientBody(w, r, arrivals.timeout)
				arrivals.join(body)
				defer arrivals.leave(body)
				r = lane.WithBody(r.WithContext(context.WithValue(r.Context(), bodyKey{}, body)), body.buffered)
			}
			next.ServeHTTP(w, r)
		})
	}
}

// patientBody is the body of a stream of requests, whose handler may wait for the
// next one for ever, but not for the rest of one that has begun.
type patientBody struct {
	io.ReadCloser
	arrival
	buffered *bufio.Reader // Of it.
	frames   *frameReader  // Nil for a body without frames.
	timeout  time.Duration
	http1    bool
	late     atomic.Bool // The deadline of the call has passed.

	message int       // That has come in part, or 0.
	due     time.Time // When the rest of it is, or zero.

	mu   sync.Mutex
	done bool // It has ended, or the handler has returned, and perhaps left a goroutine that still reads.
}

func newPatientBody(w http.ResponseWriter, r *http.Request, timeout time.Duration) *patientBody {
	b := &patientBody{ReadCloser: r.Body, timeout: timeout, http1: r.ProtoMajor == 1}
	b.buffered = bufio.NewReaderSize(b, bodyBytes)
	if framed, ok := r.Body.(framedBody); ok {
		b.frames = framed.frameReader
	}
	b.controller = http.NewResponseController(w)
	if !b.http1 {
		b.setDeadline(time.Time{}) // Every request begins with one.
	}
	return b
}

// setDeadline sets when the next read fails, or that it may wait for ever. The response
// must not be touched when its handler has returned. After the end of the body the deadline is
// that of what net/http reads then: if it passed, all further requests of the connection
// would be cancelled.
func (b *patientBody) setDeadline(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done {
		return
	}
	_ = b.controller.SetReadDeadline(at) // A connection without deadlines is closed by its server instead.
}

// finish is that no deadline is to be set any more.
func (b *patientBody) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
}

// expect finds out when what is read next is due.
func (b *patientBody) expect() {
	message := b.frames.unfinished()
	switch {
	case message == 0:
		b.due = time.Time{}
	case message != b.message:
		b.due = time.Now().Add(b.timeout)
	}
	b.message = message
}

// endWith ends the body with the deadline of its call: a handler that waits for a caller who
// says nothing would not notice. What it returns must be called when the call has ended.
func (b *patientBody) endWith(ctx context.Context) (stop func() bool) {
	if _, ok := ctx.Deadline(); !ok {
		return func() bool { return false }
	}
	return context.AfterFunc(ctx, func() {
		if ctx.Err() == context.DeadlineExceeded {
			b.late.Store(true)
			b.setDeadline(time.Now())
		}
	})
}

// over is why nothing more of the body is awaited, or nil.
func (b *patientBody) over() error {
	switch {
	case b.ended.Load():
		return failure.ErrDraining
	case b.late.Load():
		return context.DeadlineExceeded
	}
	return nil
}

// Read implements io.Reader. A deadline holds only while the handler reads, since that is
// when its caller lets it wait. Over HTTP/1.1, net/http reads what the handler leaves of
// the body, while it responds or afterwards, and must not wait for ever. So there only a
// handler that is reading has no deadline. The one that ends the body stays: what is left is
// not awaited by anybody.
func (b *patientBody) Read(p []byte) (int, error) {
	b.expect()
	bounded := !b.due.IsZero()
	if b.http1 || bounded {
		b.setDeadline(b.due)
	}
	if err := b.over(); err != nil { // And its deadline lifted just now.
		b.setDeadline(time.Now())
		return 0, err
	}
	n, err := b.read(b.ReadCloser, p)
	switch {
	case err == io.EOF:
		b.finish()
	case errors.Is(err, os.ErrDeadlineExceeded), b.over() != nil:
	case b.http1:
		b.setDeadline(time.Now().Add(b.timeout))
	case !b.http1 && bounded:
		b.setDeadline(time.Time{})
	}
	return n, err
}
