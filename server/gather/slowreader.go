package gather

import (
	"context"
	"errors"
	"os"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/store/guard"
)

// A stream of responses whose caller does not read them ends with failure.ErrSlowConsumer,
// which its handler is told once: what it then writes, the message in which Connect and
// gRPC-Web tell of an error, follows the last whole message.
//
// Package h2 drops what has waited for too long, and sends the end when there is room for
// it. net/http has no such way: what it was given it sends, or it ends the stream. So it
// gets as much time again; a caller that reads within that gets all that has waited, and
// then the error.

// patience is how long net/http may take for what waits, in timeouts.
const patience = 2

// writeResumer is a ResponseWriter that goes on after a deadline. That of package h2 is.
type writeResumer interface{ ResumeWrite() bool }

// judge decides what becomes of the stream when something was handed to the
// ResponseWriter, which has taken a time. w.mu is held.
func (w *streamWriter) judge(err error, waited time.Duration) {
	expired := errors.Is(err, os.ErrDeadlineExceeded)
	w.slow = w.slow || expired || waited > w.timeout
	switch {
	case expired && (w.resumer == nil || w.torn):
		w.err = failure.ErrSlowConsumer
	case err != nil && !expired: // The caller is gone, which the context may say a little later only.
		w.err = errors.Join(context.Canceled, err)
	case w.slow && !w.torn:
		w.late = true
	}
}

// report is what the handler is told of what it has written. w.mu is held.
func (w *streamWriter) report() error {
	if !w.late {
		return w.err
	}
	w.slow, w.late, w.renewed = false, false, time.Time{}
	w.gathered, w.whole = w.gathered[:0], 0
	if w.resumer != nil && !w.resumer.ResumeWrite() {
		w.err = failure.ErrSlowConsumer
	}
	return failure.ErrSlowConsumer
}

// SendAll is an interceptor that has streams fail whose last messages were not sent. Else
// they would have ended well, over gRPC in the caller's eyes, too.
func SendAll(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		if spec.StreamType&connect.StreamTypeServer == 0 {
			return next(ctx, spec, stream) // Nothing is gathered.
		}
		err := next(ctx, spec, stream)
		if flushErr := Flush(ctx); err == nil { // An error has to follow them as well.
			err = flushErr
		}
		return err
	}
}

// renewals is how many times the deadline of a stream is moved, at most, in the time
// that a message may wait. Moving it costs more than a write.
const renewals = 6

// renew moves the deadline of the response.
func (w *streamWriter) renew() {
	renewal := w.timeout / renewals
	if now := time.Now(); now.Sub(w.renewed) >= renewal {
		limit := w.timeout
		if w.resumer == nil {
			limit *= patience
		}
		// A connection without deadlines is closed by its server instead.
		_ = w.controller.SetWriteDeadline(now.Add(limit))
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
