package server

import (
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
)

const (
	// sendTimeout is how long a message of a stream may wait for its reader. Nobody
	// can hold memory and goroutines for longer by not reading.
	sendTimeout = 30 * time.Second
	// sendTimeoutRenewal is how often the deadline of a stream is moved. Moving it
	// costs more than a write.
	sendTimeoutRenewal = 5 * time.Second
	// receiveTimeout is how long the request of a unary call may take to come.
	receiveTimeout = 10 * time.Second
)

// refuseSlow ends unary calls whose request does not come.
func refuseSlow(types map[string]connect.StreamType, next http.Handler) http.Handler {
	var arrivals arrivals
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, ours := types[r.URL.Path]
		if ours && kind == connect.StreamTypeUnary && r.ContentLength != 0 {
			body := &hurriedBody{ReadCloser: r.Body, controller: http.NewResponseController(w), arrivals: &arrivals}
			arrivals.expect(body)
			defer body.finish()
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

// hurriedBody is the body of a request that must come in time.
type hurriedBody struct {
	io.ReadCloser
	controller *http.ResponseController // Not to be used any more when it is not expected.
	arrivals   *arrivals

	expected       bool
	due            time.Time
	previous, next *hurriedBody
}

func (b *hurriedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.finish()
	}
	return n, err
}

func (b *hurriedBody) finish() {
	b.arrivals.mu.Lock()
	defer b.arrivals.mu.Unlock()
	b.arrivals.remove(b)
}

// arrivals are the bodies that are expected, those that are due first before. One
// timer for all is cheaper than one for each, and both than a deadline of the
// connection, which most requests would set for nothing.
type arrivals struct {
	mu          sync.Mutex
	first, last *hurriedBody
	timer       *time.Timer
	armed       bool // The timer runs, until the first body is due or sooner.
}

func (a *arrivals) expect(b *hurriedBody) {
	b.expected, b.due = true, time.Now().Add(receiveTimeout)
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
		a.timer = time.AfterFunc(receiveTimeout, a.expire)
	case !a.armed:
		a.timer.Reset(receiveTimeout)
	}
	a.armed = true
}

// remove forgets a body. a.mu is held.
func (a *arrivals) remove(b *hurriedBody) {
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
func (a *arrivals) expire() {
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
