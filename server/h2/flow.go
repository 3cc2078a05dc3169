package h2

import "golang.org/x/net/http2"

// take accounts for a DATA frame that has come for s, which is nil where its stream
// is closed. c.mu is held.
func (c *conn) take(s *stream, h frameHeader) error {
	c.recvWindow -= h.length
	if c.recvWindow < 0 {
		return connectionError(http2.ErrCodeFlowControl, "DATA beyond the connection's window")
	}
	if s == nil && h.length > 0 && h.length <= c.unaware { // It was on its way when the stream was reset.
		c.unaware -= h.length
		return nil
	}
	if s == nil || s.remoteDone {
		return streamError(h.stream, http2.ErrCodeStreamClosed, "DATA on a closed stream")
	}
	s.recvWindow -= h.length
	if s.recvWindow < 0 {
		return streamError(h.stream, http2.ErrCodeFlowControl, "DATA beyond the stream's window")
	}
	return nil
}

// giveBack lets the peer send n bytes more on the connection. What is owed waits for more
// while the peer has more room than that: with less, none of the requests that have come in
// part might go on. c.mu is held.
func (c *conn) giveBack(n int) {
	c.recvOwed += n
	if c.recvOwed > 0 && c.recvOwed >= min(c.srv.config.ConnWindow/4, c.recvWindow) {
		c.out = appendNumber(c.out, http2.FrameWindowUpdate, 0, uint32(c.recvOwed))
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
		s.c.out = appendNumber(s.c.out, http2.FrameWindowUpdate, s.id, uint32(s.recvOwed))
		s.recvWindow += s.recvOwed
		s.recvOwed = 0
	}
}

// widen lets us send more: WINDOW_UPDATE. c.mu is held.
func (c *conn) widen(id uint32, increment int) error {
	if id == 0 {
		if c.sendWindow += increment; c.sendWindow > maxWindow {
			return connectionError(http2.ErrCodeFlowControl, "the connection's window overflows")
		}
		c.schedule()
		return nil
	}
	s := c.streams[id]
	if s == nil {
		return nil // Closed; the peer did not know.
	}
	if s.sendWindow += increment; s.sendWindow > maxWindow {
		return streamError(id, http2.ErrCodeFlowControl, "the stream's window overflows")
	}
	c.enqueue(s)
	c.schedule()
	return nil
}

// resizeWindows follows SETTINGS_INITIAL_WINDOW_SIZE, which moves the windows of
// open streams too, and may make them negative. c.mu is held.
func (c *conn) resizeWindows(size int) error {
	change := size - c.peerWindow
	c.peerWindow, c.largestWindow = size, max(size, c.largestWindow)
	if len(c.streams) == 0 { // None has known another one.
		c.largestWindow = size
	}
	for _, s := range c.streams {
		if s.sendWindow += change; s.sendWindow > maxWindow {
			return connectionError(http2.ErrCodeFlowControl, "a stream's window overflows")
		}
		c.enqueue(s)
	}
	c.schedule()
	return nil
}
