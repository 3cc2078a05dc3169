package h2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// What handlers get from a stream that has ended under them. Connect knows the
// texts, which are net/http's, and makes them CANCELED.
var (
	errClientGone   = errors.New("client disconnected")
	errStreamClosed = errors.New("http2: stream closed")
	errBodyClosed   = errors.New("body closed by handler")
)

// work is what a stream is opened for: an exchange with an http.Handler or a call.
type work interface {
	// run serves the stream to its end, on a goroutine of its own.
	run()
	// progress is told by the reader that more of the request is here.
	progress()
}

// stream is one stream, from its HEADERS frame until both sides have ended it.
// Everything below the lock line is guarded by conn.mu.
type stream struct {
	c        *conn
	id       uint32
	declared int64 // Content-Length of the request, or -1.

	// conn.mu.

	work       work               // Another one when a Direct has left the request to the Handler.
	err        error              // Why nothing can be sent any more.
	late       error              // Why no DATA can be sent any more: the peer does not read it.
	cancel     context.CancelFunc // Ends the context of the request. May be nil.
	remoteDone bool               // The peer has sent END_STREAM.
	localDone  bool               // We have.
	started    bool               // A directStream's: its request was looked at.
	held       bool               // Somebody uses the body without the lock.
	waiting    bool               // In conn.waiting.
	changed    *sync.Cond         // Signals body, pending and err. Made when first waited for.

	// What the peer sends.
	body       body
	bodyErr    error // Follows the body: io.EOF when it is complete.
	received   int64 // Bytes of the body so far.
	recvWindow int   // Bytes that the peer may still send.
	recvOwed   int   // Bytes read, but not yet given back to the window.

	// What we send.
	sendWindow int       // Bytes that we may still send. Negative after SETTINGS.
	pending    []byte    // Waits for the windows and its turn. Owned by a blocked write.
	torn       bool      // A part of that write has been sent.
	queued     bool      // In conn.ready.
	blocked    time.Time // Since when pending has made no progress.

	readBy, writeBy time.Time // Deadlines of http.ResponseController, or zero.
}

// wait blocks until something about the stream changes.
func (s *stream) wait() {
	if s.changed == nil {
		s.changed = sync.NewCond(&s.c.mu)
	}
	s.changed.Wait()
}

func (s *stream) wake() {
	if s.changed != nil {
		s.changed.Broadcast()
	}
}

// open starts a stream. The peer's HEADERS are read, nothing else. c.mu is held.
func (c *conn) open(s *stream, end bool) {
	s.recvWindow = c.srv.config.StreamWindow
	s.sendWindow = c.peerWindow
	if end {
		s.remoteDone, s.bodyErr = true, io.EOF
	}
	c.streams[s.id] = s
	c.cancellable++
	c.srv.stats.StreamsOpen.Add(1)
}

// close ends a stream on the wire. Its handler may still run; it gets err. c.mu is
// held.
func (s *stream) close(err error) {
	c := s.c
	if c.streams[s.id] != s {
		return
	}
	s.localDone, s.remoteDone, s.err = true, true, err
	s.held = s.held && !s.waiting // What waits does not begin any more.
	s.breakBody(err)
	s.pending = nil
	if s.cancel != nil {
		s.cancel()
	}
	delete(c.streams, s.id)
	c.srv.stats.StreamsOpen.Add(-1)
	if len(c.streams) == 0 {
		c.idleSince = time.Now()
		c.closeWhenDone()
	}
}

// reset closes a stream with RST_STREAM. c.mu is held.
func (s *stream) reset(code http2.ErrCode, err error) {
	c := s.c
	if c.streams[s.id] != s {
		return
	}
	c.out = appendNumber(c.out, http2.FrameRSTStream, s.id, uint32(code))
	c.noteReset(s.id)
	if !s.remoteDone {
		c.unaware = min(c.unaware+s.recvWindow, c.srv.config.ConnWindow)
	}
	s.close(err)
}

// endLocal notes that END_STREAM is on its way to the peer. A request that it has
// not finished is of no use any more. c.mu is held.
func (s *stream) endLocal() {
	s.localDone = true
	if s.remoteDone {
		s.close(errStreamClosed)
		return
	}
	s.reset(http2.ErrCodeNo, errStreamClosed)
}

// receive takes the payload of a DATA frame. c.mu is held; the windows are
// accounted for.
func (s *stream) receive(data []byte, end bool) error {
	s.received += int64(len(data))
	if s.declared >= 0 && (s.received > s.declared || end && s.received < s.declared) {
		s.c.giveBack(len(data))
		return streamError(s.id, http2.ErrCodeProtocol, "body is not as long as content-length says")
	}
	switch {
	case s.bodyErr != nil: // Nobody reads it.
		s.c.giveBack(len(data))
	case len(data) > 0:
		s.body.write(data)
	}
	if end {
		s.remoteDone = true
		if s.bodyErr == nil {
			s.bodyErr = io.EOF
		}
		if s.localDone {
			s.close(errStreamClosed)
		}
	}
	s.wake()
	return nil
}

// Read reads the body of a request. It gives what it reads back to the windows of the
// peer.
func (s *stream) Read(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	for s.body.size == 0 && s.bodyErr == nil {
		s.wait()
	}
	if s.body.size == 0 {
		err := s.bodyErr
		c.mu.Unlock()
		return 0, err
	}
	n := s.body.read(p)
	c.giveBack(n)
	s.giveBack(n)
	c.unlockAndFlush()
	return n, nil
}

// breakBody throws away what was not read of the body, and makes reads fail. A body
// that was read to its end stays so. c.mu is held.
func (s *stream) breakBody(err error) {
	if s.body.size > 0 || s.bodyErr == nil {
		s.bodyErr = err
	}
	if !s.held {
		s.c.giveBack(s.body.size)
		s.body.discard()
	}
	s.wake()
}

// send appends data to what the connection writes. Where the windows or the
// connection's buffer are full it waits, and takes turns with other streams. c.mu
// is held, but not while it waits.
func (s *stream) send(p []byte, end bool) error {
	c, sent := s.c, 0
	if s.sendErr() == nil && (len(p) == 0 || len(c.ready) == 0) {
		sent = c.appendData(s, p, end)
		p = p[sent:]
	}
	if len(p) > 0 && s.sendErr() == nil {
		s.pending, s.torn = p, sent > 0
		s.blocked = time.Now()
		c.enqueue(s)
		for len(s.pending) > 0 && s.err == nil {
			c.flush()
			s.wait()
		}
		if end && s.sendErr() == nil {
			c.appendData(s, nil, true)
		}
	}
	return s.sendErr()
}

// sendErr is why no DATA can be sent, or nil. c.mu is held.
func (s *stream) sendErr() error {
	if s.err != nil {
		return s.err
	}
	return s.late
}

// recover resets the stream of a handler that panics, so that the peer does not take
// what it has for the whole response. It is deferred.
func (s *stream) recover() {
	cause := recover()
	if cause == nil {
		return
	}
	s.c.srv.logPanic(s.c.remote, cause)
	s.c.mu.Lock()
	s.held = false
	s.breakBody(errStreamClosed) // Also where its caller has cancelled it.
	s.reset(http2.ErrCodeInternal, errStreamClosed)
	s.c.mu.Unlock()
}

// checkDeadlines ends what a handler does not want to wait for any longer. c.mu is held.
func (s *stream) checkDeadlines(now time.Time) {
	passed := func(deadline time.Time) bool { return !deadline.IsZero() && !deadline.After(now) }
	if passed(s.readBy) && s.bodyErr == nil {
		s.bodyErr = fmt.Errorf("http2: read: %w", os.ErrDeadlineExceeded)
		s.wake()
	}
	if passed(s.writeBy) {
		s.expireWrite()
	}
}

// expireWrite gives up what waits for a peer that does not read. The handler is told, and
// may tell why in trailers, which no window holds back. c.mu is held.
func (s *stream) expireWrite() {
	late := fmt.Errorf("http2: write: %w", os.ErrDeadlineExceeded)
	switch {
	case s.late != nil:
	case len(s.pending) > 0:
		s.late, s.pending = late, nil
		s.wake()
	default:
		s.resetLate(late)
	}
}

// endLate resets a stream that was given up and whose handler has not told why.
func (s *stream) endLate() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.late != nil {
		s.resetLate(s.late)
	}
}

// resetLate ends a stream that has sent a part of a response. The code is the one that
// clients of gRPC and Connect show as RESOURCE_EXHAUSTED. c.mu is held.
func (s *stream) resetLate(err error) { s.reset(http2.ErrCodeEnhanceYourCalm, err) }
