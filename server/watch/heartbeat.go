package watch

import "time"

// heartbeat tells when a watcher was sent nothing for watchInterval. A message that is sent
// does not set the timer anew, and it is no channel's, which a select would put among the
// timers of the process and take out again: with a thousand watchers that is a good part of
// what an event costs. It rings too early instead, once in watchInterval at most.
type heartbeat struct {
	rang  chan struct{}
	timer *time.Timer
	last  time.Time // When a message was sent.
	spent bool      // The timer has to be set.
}

// newHeartbeat returns the heartbeat of a watcher that is sent something now. It must be
// stopped.
func newHeartbeat() *heartbeat {
	rang := make(chan struct{}, 1)
	timer := time.AfterFunc(watchInterval, func() { rang <- struct{}{} })
	return &heartbeat{rang: rang, timer: timer, last: time.Now()}
}

// sent counts the time from now.
func (h *heartbeat) sent() {
	h.last = time.Now()
	if h.spent {
		h.spent = false
		h.timer.Reset(watchInterval)
	}
}

// isDue reports, when the timer has rung, whether something is to be sent.
func (h *heartbeat) isDue() bool {
	rest := watchInterval - time.Since(h.last)
	h.spent = rest <= 0
	if !h.spent {
		h.timer.Reset(rest)
	}
	return h.spent
}

// isNear reports whether the next page that is read may be too late for a message.
func (h *heartbeat) isNear() bool { return time.Since(h.last) >= watchInterval/2 }

func (h *heartbeat) stop() { h.timer.Stop() }
