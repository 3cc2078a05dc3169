package edge

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/store/guard"
)

// RefuseSlow ends requests that do not come in time. Streams of requests may be
// silent for as long as they like. Over HTTP/1.1, what handlers leave of a body is read
// by net/http itself, within the same time: see ReadTimeout of http.Server.
func RefuseSlow(types map[string]connect.StreamType, arrivals *Arrivals) Middleware {
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

// patientBody is the body of a stream of requests, whose handler may wait for the
// next one for ever.
type patientBody struct {
	io.ReadCloser
	arrival
	timeout time.Duration
	http1   bool
}

func newPatientBody(w http.ResponseWriter, r *http.Request, timeout time.Duration) *patientBody {
	b := &patientBody{ReadCloser: r.Body, timeout: timeout, http1: r.ProtoMajor == 1}
	b.controller = http.NewResponseController(w)
	if !b.http1 {
		b.wait()
	}
	return b
}

// wait lifts the deadline that every request begins with.
func (b *patientBody) wait() {
	_ = b.controller.SetReadDeadline(time.Time{}) // A connection without deadlines is closed by its server instead.
}

// Read implements io.Reader. Over HTTP/1.1, net/http reads what the handler leaves of
// the body, while it responds or afterwards, and must not wait for ever. So only a
// handler that is reading has no deadline.
func (b *patientBody) Read(p []byte) (int, error) {
	if b.http1 {
		b.wait()
	}
	if b.ended.Load() { // And its deadline lifted just now.
		return 0, failure.ErrDraining
	}
	n, err := b.read(b.ReadCloser, p)
	if b.http1 && err != io.EOF { // After the end the deadline is that of the next request.
		_ = b.controller.SetReadDeadline(time.Now().Add(b.timeout)) // See wait.
	}
	return n, err
}
