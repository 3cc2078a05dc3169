package h2

import (
	"runtime"
	"slices"
	"time"

	"golang.org/x/net/http2"
)

// Bounds of what waits for the socket of one connection, in bytes.
const (
	outLimit = 64 << 10  // No DATA is appended from here on: streams wait for their turn.
	outPause = 256 << 10 // No frame is read from here on: the peer must read first.
)

// tail is the last frame of conn.out if it is DATA that can still grow.
type tail struct {
	stream uint32
	start  int // Of its header in out.
	end    int // Of its payload. The frame is the last one if out ends here.
}

// mustFlush reports whether the caller has to see to it that what was appended is
// written. Where it is false somebody else does: the reader at the end of what it
// has read, or the flush that is under way. c.mu is held.
func (c *conn) mustFlush() bool {
	if c.gathering || c.flushing || len(c.out) == 0 || c.writeErr != nil {
		return false
	}
	c.flushing = true
	return true
}

// flush has what was appended written by a goroutine of its own, if the caller has to
// see to it. c.mu is held.
func (c *conn) flush() {
	if c.mustFlush() {
		go func() {
			runtime.Gosched() // What handlers that can run are about to append is written along.
			c.drain(nil)
		}()
	}
}

func (c *conn) unlockAndFlush() {
	c.flush()
	c.mu.Unlock()
}

// next returns what is to be written next, and ends the flush where there is
// nothing. written is what was written before, which is not used any more. c.mu is held.
func (c *conn) next(written []byte) []byte {
	putOut(written)
	c.schedule()
	if len(c.out) == 0 || c.writeErr != nil {
		c.flushing, c.writing = false, time.Time{}
		c.changed.Broadcast()
		return nil
	}
	out := c.out
	c.out, c.tail = nil, tail{}
	c.writing = time.Now()
	c.changed.Broadcast()
	return out
}

// drain writes until nothing is left. It is called by whom mustFlush told to, and
// may block for as long as the peer does not read. rest is what was begun already.
func (c *conn) drain(rest []byte) {
	if err := c.srv.guarded(c.remote, func() error { return c.write(rest) }); err != nil {
		c.failWrite(err)
	}
}

func (c *conn) write(rest []byte) error {
	for written := rest; ; written = rest {
		if len(rest) > 0 {
			if _, err := c.nc.Write(rest); err != nil {
				return err
			}
		}
		c.mu.Lock()
		rest = c.next(written)
		c.mu.Unlock()
		if rest == nil {
			return nil
		}
	}
}

// flushBatch writes what one batch of frames has led to. It never blocks: what the
// socket does not take at once is left to a goroutine.
func (c *conn) flushBatch() {
	c.mu.Lock()
	c.gathering = false
	if !c.mustFlush() {
		c.mu.Unlock()
		return
	}
	out := c.next(nil)
	c.mu.Unlock()
	if out == nil {
		return
	}
	n := 0
	if c.try != nil {
		n = c.try.TryWrite(out)
	}
	if n < len(out) {
		go c.drain(out[n:])
		return
	}
	c.mu.Lock()
	out = c.next(out)
	c.mu.Unlock()
	if out != nil {
		go c.drain(out)
	}
}

// failWrite gives the connection up. The reader finds out and cleans up.
func (c *conn) failWrite(err error) {
	c.mu.Lock()
	c.writeErr = err
	c.flushing = false
	c.changed.Broadcast()
	c.mu.Unlock()
	_ = c.nc.Close() // It is of no use any more, whatever Close says.
}

// schedule lets the streams that wait take turns, a frame each, for as long as the
// buffer and the connection's window have room. c.mu is held.
func (c *conn) schedule() {
	for len(c.ready) > 0 && len(c.out) < outLimit && c.sendWindow > 0 {
		s := c.ready[0]
		c.ready = slices.Delete(c.ready, 0, 1)
		s.queued = false
		n := c.room(s, len(s.pending))
		if n <= 0 {
			continue // Closed, or its next WINDOW_UPDATE queues it again.
		}
		c.appendDataFrame(s, s.pending[:n], false)
		s.pending, s.torn, s.blocked = s.pending[n:], true, time.Now()
		if len(s.pending) == 0 {
			s.wake()
			continue
		}
		c.enqueue(s)
	}
}

// enqueue lets a stream wait for its turn to send what is pending, unless its own window
// holds that back. c.mu is held.
func (c *conn) enqueue(s *stream) {
	if !s.queued && s.room(len(s.pending)) > 0 {
		s.queued = true
		c.ready = append(c.ready, s)
	}
}

// appendData appends as much of p as the windows and the buffer allow, and returns
// how much that was. c.mu is held.
func (c *conn) appendData(s *stream, p []byte, end bool) int {
	if len(p) == 0 && end {
		c.appendDataFrame(s, nil, true)
	}
	sent := 0
	for sent < len(p) && len(c.out) < outLimit {
		n := c.room(s, len(p)-sent)
		if n <= 0 {
			break
		}
		c.appendDataFrame(s, p[sent:sent+n], end && sent+n == len(p))
		sent += n
	}
	return sent
}

// appendAll appends all of p, which fits. c.mu is held.
func (c *conn) appendAll(s *stream, p []byte, end bool) {
	for ; len(p) > maxFrameSize; p = p[maxFrameSize:] {
		c.appendDataFrame(s, p[:maxFrameSize], false)
	}
	c.appendDataFrame(s, p, end)
}

// room is how many of n bytes that belong together fit into the next frame. c.mu is held.
func (c *conn) room(s *stream, n int) int { return min(s.room(n), maxFrameSize, c.sendWindow) }

// room is how many of n bytes that belong together the stream's own window lets go. They wait
// until it has room for all, if the peer is about to make room: it has more than half of its
// window to give back, which all give back when they have read it. So a stream that is given
// up ends, most often, where its handler has ended a write, and not within a message: of that
// clients would tell, and not of the trailers. conn.mu is held.
func (s *stream) room(n int) int {
	if n > s.sendWindow && n <= s.c.peerWindow-s.c.largestWindow/2 {
		return 0
	}
	return min(n, s.sendWindow)
}

// fits reports whether n bytes of DATA can be appended at once. c.mu is held.
func (c *conn) fits(s *stream, n int) bool {
	return len(c.ready) == 0 && len(c.out)+n <= outLimit && n <= min(s.sendWindow, c.sendWindow)
}

// appendDataFrame appends a DATA frame. One that follows another of the same stream
// becomes part of it, since peers pay by the frame. c.mu is held.
func (c *conn) appendDataFrame(s *stream, p []byte, end bool) {
	length := len(p) + c.tail.end - c.tail.start - frameHeaderSize
	if c.tail.stream == s.id && c.tail.end == len(c.out) && length <= maxFrameSize {
		appendFrameHeader(c.out[:c.tail.start], length, http2.FrameData, endStream(end), s.id)
	} else {
		c.startOut()
		c.tail.stream, c.tail.start = s.id, len(c.out)
		c.out = appendFrameHeader(c.out, len(p), http2.FrameData, endStream(end), s.id)
	}
	c.out = append(c.out, p...)
	c.tail.end = len(c.out)
	c.sendWindow -= len(p)
	s.sendWindow -= len(p)
	c.returnable += 2 * len(p)
	if end || len(p) >= tinyFrame || s.sendWindow > 0 && c.sendWindow > 0 {
		c.earned += frameCredit
	}
}

// sendHeaders appends HEADERS of a stream. c.mu is held.
func (s *stream) sendHeaders(fields Fields, end bool) error {
	if s.err != nil {
		return s.err
	}
	s.c.startOut()
	s.c.out = appendHeaderFrames(s.c.out, s.id, s.c.encoder.encode(s.c.fitting(fields)), end)
	s.c.earned += frameCredit
	return nil
}

// fitting is a header or trailer as the peer takes it. c.mu is held.
func (c *conn) fitting(f Fields) Fields {
	fit := c.srv.config.FitHeader
	if fit == nil || f.size() <= c.maxHeader {
		return f
	}
	fields := f.More
	if f.Shared != nil {
		fields = slices.Concat(f.Shared.fields, f.More)
	}
	return Fields{More: fit(fields, c.maxHeader)}
}
