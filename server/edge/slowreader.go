package edge

import (
	"time"

	"github.com/example/userd/store/guard"
)

// A stream of responses whose caller does not read them has a deadline, which gather.go
// turns into failure.ErrSlowConsumer.

// renewals is how many times the deadline of a stream is moved, at most, in the time
// that a message may wait. Moving it costs more than a write.
const renewals = 6

// renew moves the deadline of the response.
func (w *streamWriter) renew() {
	renewal := w.timeout / renewals
	if now := time.Now(); now.Sub(w.renewed) >= renewal {
		// A connection without deadlines is closed by its server instead.
		_ = w.controller.SetWriteDeadline(now.Add(w.timeout))
		w.renewed = now
		if w.idle == nil {
			w.idle = guard.Timer(w.timeout-renewal, w.onIdle)
		} else {
			w.idle.Reset(w.timeout - renewal)
		}
	}
}

// onIdle sees to it that the deadline does not end a stream that has nothing to send:
// HTTP/2 holds to it whether something waits or not.
func (w *streamWriter) onIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.passing {
		w.lifting = true
		return
	}
	w.lift()
}

// lift takes the deadline of the response away until something is sent. w.mu is held.
func (w *streamWriter) lift() {
	w.lifting = false
	if !w.finished {
		_ = w.controller.SetWriteDeadline(time.Time{}) // See renew.
		w.renewed = time.Time{}
	}
}
