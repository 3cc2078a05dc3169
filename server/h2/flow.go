package h2

import "time"

// The budget of frames that make work and bring none. A peer that answers what it
// is sent, or cancels now and then, stays far below; a flood is through with it in
// milliseconds.
const (
	budgetBurst = 2000 // Frames at once.
	budgetRate  = 200  // Frames a second.
	frameCredit = 4    // Frames for one that the peer was sent, for its WINDOW_UPDATE and PING.

	costControl  = 1  // SETTINGS excepted: PING, WINDOW_UPDATE, RST_STREAM, empty DATA, ...
	costSettings = 10 // May touch all streams.
	costRefused  = 4  // A stream beyond the limit.
	costError    = 10 // A stream that the peer has made us reset.

	// tinyFrame is the size of DATA, in bytes, below which a frame that the peer's
	// windows have cut short earns nothing: else windows of one byte would pay for
	// themselves.
	tinyFrame = 1 << 10

	// updateBytes is how many bytes of DATA a peer must have been sent for each
	// WINDOW_UPDATE that is free. Go's client is the one with the most: it gives back
	// every 4 KiB that are read, to the stream and to the connection, which is one for
	// 2 KiB. It may do so long after they were sent, for many streams at once, so what
	// is free does not lapse. Nobody gets more of them than he has taken KiB of DATA.
	updateBytes = 1 << 10
)

// budget is what a peer may still spend.
type budget struct {
	credit float64
	at     time.Time
}

// refill adds what the time since the last one and the frames sent are worth.
func (b *budget) refill(now time.Time, earned int) {
	b.credit = min(budgetBurst, b.credit+now.Sub(b.at).Seconds()*budgetRate+float64(earned))
	b.at = now
}

func (b *budget) spend(cost int) error {
	b.credit -= float64(cost)
	if b.credit < 0 {
		return connectionError(codeEnhanceYourCalm, "too many frames that bring nothing")
	}
	return nil
}

// spendUpdate pays for a WINDOW_UPDATE with the DATA that it may answer, or else from
// the budget. c.mu is held.
func (c *conn) spendUpdate() error {
	if c.unanswered < updateBytes {
		return c.budget.spend(costControl)
	}
	c.unanswered -= updateBytes
	return nil
}

// take accounts for a DATA frame that has come for s, which is nil where its stream
// is closed. c.mu is held.
func (c *conn) take(s *stream, h frameHeader) error {
	c.recvWindow -= h.length
	if c.recvWindow < 0 {
		return connectionError(codeFlowControl, "DATA beyond the connection's window")
	}
	if s == nil || s.remoteDone {
		return streamError(h.stream, codeStreamClosed, "DATA on a closed stream")
	}
	s.recvWindow -= h.length
	if s.recvWindow < 0 {
		return streamError(h.stream, codeFlowControl, "DATA beyond the stream's window")
	}
	return nil
}

// giveBack lets the peer send n bytes more on the connection. c.mu is held.
func (c *conn) giveBack(n int) {
	c.recvOwed += n
	if c.recvOwed >= c.srv.config.ConnWindow/4 {
		c.out = appendWindowUpdate(c.out, 0, c.recvOwed)
		c.recvWindow += c.recvOwed
		c.recvOwed = 0
	}
}

// giveBack lets the peer send n bytes more on the stream. c.mu is held.
func (s *stream) giveBack(n int) {
	if s.remoteDone {
		return
	}
	s.recvOwed += n
	if s.recvOwed >= s.c.srv.config.StreamWindow/4 {
		s.c.out = appendWindowUpdate(s.c.out, s.id, s.recvOwed)
		s.recvWindow += s.recvOwed
		s.recvOwed = 0
	}
}

// widen lets us send more: WINDOW_UPDATE. c.mu is held.
func (c *conn) widen(id uint32, increment int) error {
	if id == 0 {
		if c.sendWindow += increment; c.sendWindow > maxWindow {
			return connectionError(codeFlowControl, "the connection's window overflows")
		}
		c.schedule()
		return nil
	}
	s := c.streams[id]
	if s == nil {
		return nil // Closed; the peer did not know.
	}
	if s.sendWindow += increment; s.sendWindow > maxWindow {
		return streamError(id, codeFlowControl, "the stream's window overflows")
	}
	c.enqueue(s)
	c.schedule()
	return nil
}

// resizeWindows follows SETTINGS_INITIAL_WINDOW_SIZE, which moves the windows of
// open streams too, and may make them negative. c.mu is held.
func (c *conn) resizeWindows(size int) error {
	change := size - c.peerWindow
	c.peerWindow = size
	for _, s := range c.streams {
		if s.sendWindow += change; s.sendWindow > maxWindow {
			return connectionError(codeFlowControl, "a stream's window overflows")
		}
		c.enqueue(s)
	}
	c.schedule()
	return nil
}
