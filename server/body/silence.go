package body

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/example/userd/server/failure"
)

// drainPatience is how long a caller may say nothing in the middle of a request when the
// server stops. What comes until then is served; nobody waits for what does not.
const drainPatience = time.Second

// arrival is how much of a body has come, for those who end it when it does not go on.
type arrival struct {
	controller *http.ResponseController
	received   atomic.Int64 // Bytes.
	reading    atomic.Bool  // The handler waits for more.
	ended      atomic.Bool  // Because the server stops.

	// At the last look. arrivals.mu guards them.
	looked bool // There was one.
	seen   int64
}

// read reads from the body.
func (a *arrival) read(body io.Reader, p []byte) (int, error) {
	a.reading.Store(true)
	n, err := body.Read(p)
	a.reading.Store(false)
	a.received.Add(int64(n))
	if err != nil && err != io.EOF && a.ended.Load() {
		err = failure.ErrDraining
	}
	return n, err
}

// look ends the body if nothing of it has come since the last look though its handler
// waits for it. A body that was not there then has come only now: its peer has not read
// yet that the server stops. arrivals.mu is held, so that the request is still there.
func (a *arrival) look() {
	received := a.received.Load()
	if a.looked && received == a.seen && a.reading.Load() {
		a.ended.Store(true)
		_ = a.controller.SetReadDeadline(time.Now()) // A connection without deadlines is closed by its server instead.
	}
	a.looked, a.seen = true, received
}

// Drain ends, until ctx ends, the bodies of which nothing comes: the server stops.
func (a *Arrivals) Drain(ctx context.Context) {
	a.stopping.Store(true)
	ticker := time.NewTicker(drainPatience)
	defer ticker.Stop()
	for {
		a.lookAtAll()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (a *Arrivals) lookAtAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for body := a.first; body != nil; body = body.next {
		body.look()
	}
	for body := range a.patient {
		body.look()
	}
}

// join and leave keep the bodies of streams of requests.
func (a *Arrivals) join(b *patientBody) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.patient[b] = struct{}{}
}

func (a *Arrivals) leave(b *patientBody) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.patient, b)
	b.finish()
}
