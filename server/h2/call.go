package h2

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2/hpack"
)

// callBuffer is how much of a request is gathered before its call starts, in bytes.
// Larger ones are read by their call, when interceptors have let it in.
const callBuffer = 16 << 10

// call is a unary gRPC call. It is the connect.ServerStream of its handler.
type call struct {
	stream
	lane    *lane
	profile *profile
	info    connect.CallInfo
	opened  time.Time
	ctx     context.Context

	prefix   [envelopeSize]byte
	received bool          // Receive was called.
	sent     bool          // Send was called: header and trailer are as they were then.
	answered bool          // The handler has returned, and its answer waits to be sent.
	answer   *bytes.Buffer // Envelopes of the response, or nil.
	header   []hpack.HeaderField
	trailer  []hpack.HeaderField
	failure  error // Of the handler, as the caller may see it.
}

// openCall opens a stream for a call. The reader calls it.
func (c *conn) openCall(id uint32, p *profile, end bool) {
	l := &call{stream: stream{c: c, id: id, declared: p.declared}, lane: c.srv.lane, profile: p}
	l.work = l
	c.srv.stats.Calls.Add(1)
	c.mu.Lock()
	l.opened = c.lastRead
	c.open(&l.stream, end)
	c.mu.Unlock()
	l.progress()
}

// progress starts the call when enough of its request is here. The reader calls it.
func (l *call) progress() {
	c := l.c
	c.mu.Lock()
	whole := l.remoteDone
	ready := !l.started && !l.localDone && (whole || l.body.size >= callBuffer)
	l.started = l.started || ready
	c.mu.Unlock()
	if !ready {
		return
	}
	if whole && l.runInline() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l.begin()
}

// begin starts the call on a goroutine of its own, unless its caller has cancelled it.
// conn.mu is held.
func (l *call) begin() {
	if l.err != nil {
		return
	}
	if l.profile.hasTimeout {
		l.ctx, l.cancel = context.WithTimeout(l.c.ctx, l.profile.timeout)
	} else {
		l.ctx, l.cancel = context.WithCancel(l.c.ctx)
	}
	l.c.start(&l.stream)
}

// expire fails what waits for the rest of the request. conn.mu is held.
func (l *call) expire() {
	if l.bodyErr != nil {
		return
	}
	l.bodyErr = fmt.Errorf("http2: read: %w", os.ErrDeadlineExceeded)
	l.wake()
	if !l.started {
		l.started = true
		l.begin()
	}
}

// runInline runs the call on the reader if it is sure not to block.
func (l *call) runInline() (ran bool) {
	defer l.recover() // Of Inline.
	if l.lane.Inline == nil || len(l.body.parts) != 1 || l.body.size < envelopeSize {
		return false
	}
	prefix, message := l.body.parts[0][:envelopeSize], l.body.parts[0][envelopeSize:]
	if prefix[0] != 0 || binary.BigEndian.Uint32(prefix[1:]) != uint32(len(message)) {
		return false
	}
	l.describe()
	ctx := l.c.ctx
	if l.profile.hasTimeout {
		ctx = deadlineContext{ctx, time.Now().Add(l.profile.timeout)}
	}
	ctx, ok := l.lane.Inline(ctx, &l.info, message)
	if !ok {
		return false
	}
	l.c.srv.stats.InlineCalls.Add(1)
	l.ctx = ctx
	l.serve()
	return true
}

// deadlineContext is the context of an inline call with a timeout. Its Done does not
// tell of the deadline, since nobody waits who does not block.
type deadlineContext struct {
	context.Context
	deadline time.Time
}

func (c deadlineContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c deadlineContext) Err() error {
	if !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return c.Context.Err()
}

// run serves the call on a worker.
func (l *call) run() {
	defer l.c.done()
	if l.answered {
		l.deliver()
		return
	}
	defer l.cancel()
	l.describe()
	l.serve()
}

// describe fills the CallInfo, once.
func (l *call) describe() {
	if l.info.Protocol != "" {
		return
	}
	l.info.Spec = l.profile.spec
	l.info.PeerAddr = l.c.remote
	l.info.Protocol = connect.ProtocolNameGRPC
	l.info.Codec = l.profile.format.codec.Name()
	l.info.RequestEncoding = l.profile.received
	l.info.ResponseEncoding = l.profile.sent
	header := l.info.RequestHeader()
	for i := range l.profile.header {
		field := &l.profile.header[i]
		header.SetValues(field.key, field.values[:len(field.values):len(field.values)])
	}
}

// serve runs the handler and sends what it answers.
func (l *call) serve() {
	defer l.recover()
	l.failure = wireError(l.lane.Server.Call(l.ctx, l.profile.spec.Procedure, &l.info, l))
	l.takeMetadata()
	l.deliver()
}

// deliver sends the response. What does not fit at once is sent by a worker, which
// may wait.
func (l *call) deliver() {
	c := l.c
	var answer []byte
	if l.answer != nil {
		answer = l.answer.Bytes()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.cancel == nil && !l.answered && !c.fits(&l.stream, len(answer)) {
		l.answered = true
		c.start(&l.stream)
		return
	}
	if l.sendResponse(answer) == nil {
		l.endLocal()
	}
	if l.answer != nil {
		putBuffer(l.answer)
		l.answer = nil
	}
}

// sendResponse sends header, message and trailer. conn.mu is held.
func (l *call) sendResponse(answer []byte) error {
	fixed := l.profile.format.headers[l.profile.sent]
	send := func() error { return l.sendFixed(fixed, false) }
	if len(l.header) > 0 {
		send = func() error {
			return l.sendHeaders(append(fixed.fields[:len(fixed.fields):len(fixed.fields)], l.header...), false)
		}
	}
	if err := send(); err != nil {
		return err
	}
	if len(answer) > 0 {
		if err := l.send(answer, false); err != nil {
			return err
		}
	}
	if l.failure == nil && len(l.trailer) == 0 {
		return l.sendFixed(statusOK, true)
	}
	return l.sendHeaders(appendStatus(l.trailer, l.failure), true)
}
