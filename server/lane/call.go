package lane

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"runtime"
	"time"

	"connectrpc.com/connect/v2"
)

// call is a call under way. It is the connect.ServerStream of its handler.
type call struct {
	lane    *Lane
	profile *profile // Calls of one connection with the same header may share it.
	info    connect.CallInfo
	ctx     context.Context

	permitted permittedContext // That of the handler, where the call has a permit.

	message bytes.Buffer // Unpacked.
	stats   connect.MessageStats
	decoded Request // The message, if it is decoded already.

	received bool // Receive was called.
	sent     bool // Send was called: header and trailer are as they were then.
	answer   answer
	counted  Counted // The answer, if it is.
	kept     kept
}

// kept is empty, and has room for the header of an answer: one that was used for another call.
type kept struct {
	header connect.Header
	fields []field
}

// keep is what the next call may use.
func (c *call) keep() kept {
	header := *c.info.ResponseHeader()
	if header.Len() == 0 {
		return c.kept // As it is with gRPC.
	}
	for name := range header.All() {
		header.Delete(name)
	}
	fields := c.kept.fields[:cap(c.kept.fields)]
	clear(fields)
	return kept{header, fields[:0]}
}

// prepare takes the message out of a body, or of the query of a GET, and has the call refused if it is not to begin. It
// returns false for what connecthttp has to look at. The body must stay as it is until the
// call has ended.
func (c *call) prepare(ctx context.Context, l *Lane, p *profile, peer string, body []byte) bool {
	c.lane, c.profile = l, p
	message, compressed, ok := l.open(p, body)
	if !ok {
		return false
	}
	c.stats.Size = len(message)
	if compressed {
		unpacked := getBuffer()
		defer putBuffer(unpacked)
		if !l.unpack(unpacked, p.received, message) {
			return false
		}
		c.stats = connect.MessageStats{Size: unpacked.Len(), CompressedSize: len(message)}
		message = bytes.Clone(unpacked.Bytes())
	}
	if refused := c.refusal(ctx, peer, message); refused != nil {
		c.finish(refused)
		return true
	}
	c.message = *bytes.NewBuffer(message)
	c.describe(peer)
	return true
}

// refusal is why the call is not to begin, or nil.
func (c *call) refusal(ctx context.Context, peer string, message []byte) *connect.Error {
	p := c.profile
	if p.refuse == nil {
		return nil
	}
	return p.refuse(c.permit(ctx), Arrival{
		Protocol: p.format.protocol, Codec: p.format.codec.Name(), PeerAddr: peer, Message: message,
	})
}

// answered reports whether there is an answer, as there is before the call where it is refused.
func (c *call) answered() bool { return c.answer.status != 0 }

// describe fills the CallInfo.
func (c *call) describe(peer string) {
	p := c.profile
	c.info.Spec = p.spec
	c.info.PeerAddr = peer
	c.info.Protocol = p.format.protocol
	c.info.Codec = p.format.codec.Name()
	c.info.RequestEncoding, c.info.ResponseEncoding = p.received, p.sent
	if p.get {
		c.info.TransportInfo = viaGet{}
	}
	*c.info.RequestHeader() = p.request
	*c.info.ResponseHeader() = c.kept.header
}

// viaGet says of a call that it is a Connect GET, as connecthttp.ServerInfo does.
type viaGet struct{}

func (viaGet) HTTPMethod() string { return http.MethodGet }

// Ready reports whether the call is sure not to wait for anything.
func (c *call) Ready(ctx context.Context) bool {
	if c.answered() || c.lane.Ready == nil {
		return c.answered()
	}
	ctx, decoded, ok := c.lane.Ready(c.permit(ctx), &c.info, c.message.Bytes())
	if ok {
		c.ctx, c.decoded = ctx, decoded
	}
	return ok
}

// serve runs the handler, with the context of Ready or another one, unless the call is refused.
func (c *call) serve(ctx context.Context) {
	if c.answered() {
		return
	}
	switch p := c.profile; {
	case c.ctx != nil && p.hasTimeout:
		c.ctx = deadlineContext{c.ctx, time.Now().Add(p.timeout)}
	case c.ctx != nil:
	case p.hasTimeout:
		var cancel context.CancelFunc
		c.ctx, cancel = context.WithTimeout(c.permit(ctx), p.timeout)
		defer cancel()
	default:
		c.ctx = c.permit(ctx)
	}
	err := c.lane.Server.Call(c.ctx, c.profile.spec.Procedure, &c.info, c)
	c.takeMetadata()
	c.finish(visible(err))
}

// permit is a context with what the permit of the call has, if there is one.
func (c *call) permit(ctx context.Context) context.Context {
	if c.permitted.permit == nil {
		return ctx
	}
	c.permitted.Context = ctx
	return &c.permitted
}

// permittedContext is the context of a call with a permit. It is a part of the call, so that
// it costs nothing.
type permittedContext struct {
	context.Context
	permit Permit
}

// Value implements [context.Context].
func (c *permittedContext) Value(key any) any {
	if value := c.permit.Value(key); value != nil {
		return value
	}
	return c.Context.Value(key)
}

// deadlineContext is the context of a call with a timeout that waits for nothing. Its
// Done does not tell of the deadline, since nobody listens.
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

// Receive decodes the one message of the request.
func (c *call) Receive(msg any) error {
	if c.received {
		return io.EOF
	}
	c.received = true
	switch {
	case c.decoded != nil && c.decoded.CopyTo(msg):
	case c.profile.format.enveloped && c.message.Len() == 0: // As gRPC has it: all fields are unset.
	default:
		if err := c.profile.format.codec.UnmarshalRead(c.ctx, &c.message, msg); err != nil {
			return connect.Errorf(connect.CodeInvalidArgument, "unmarshal message: %s", err).WithCause(err)
		}
	}
	c.info.ReceiveStats = c.stats
	return nil
}

// SendHeaders does nothing: the header of a unary response goes out with it.
func (c *call) SendHeaders() error { return nil }

// Send encodes the message of the response. It goes out when the handler returns.
func (c *call) Send(msg any) error {
	c.takeMetadata()
	c.sent = true
	body := c.answer.body
	c.answer.body = nil // Until the message is whole: it may end in a panic.
	if body == nil {
		body = getBuffer()
	}
	if msg == nil {
		c.answer.body = body
		return nil
	}
	if c.lane.Count != nil && c.lane.IsLarge(msg) {
		return c.encodeLarge(body, msg)
	}
	return c.encode(body, msg)
}

// encodeTurns has a place for each large message that is encoded: those who encode may be held
// up, and are not counted yet.
var encodeTurns = make(chan struct{}, runtime.GOMAXPROCS(0))

// encodeLarge is encode for a message that is large. It counts at once.
func (c *call) encodeLarge(body *bytes.Buffer, msg any) error {
	encodeTurns <- struct{}{}
	defer func() { <-encodeTurns }()
	if err := c.encode(body, msg); err != nil {
		return err
	}
	if refused := c.count(waitingBytes); refused != nil {
		c.discard()
		return refused
	}
	if c.answer.compressed {
		c.fitBody() // Whether it waits or not: there are many such.
	}
	return nil
}

// encode makes the body of a message.
func (c *call) encode(body *bytes.Buffer, msg any) error {
	prefix := 0
	if c.profile.format.enveloped {
		prefix = EnvelopeSize
		body.Write(make([]byte, EnvelopeSize))
	}
	if err := c.profile.format.codec.MarshalWrite(c.ctx, body, msg); err != nil {
		putBuffer(body)
		return connect.Errorf(connect.CodeInternal, "marshal message: %s", err).WithCause(err)
	}
	c.info.SendStats.Size = body.Len() - prefix
	if compressor := c.compressor(body.Len() - prefix); compressor != nil {
		return c.compress(compressor, body, prefix)
	}
	setEnvelope(body, 0, prefix)
	c.answer.body = body
	return nil
}

// compressor is what compresses a message of a size, or nil.
func (c *call) compressor(size int) connect.Compressor {
	if size < c.lane.CompressMinBytes {
		return nil
	}
	return c.lane.compressors[c.profile.sent]
}

// compress makes the body of a plain one, whose message is behind a prefix.
func (c *call) compress(compressor connect.Compressor, plain *bytes.Buffer, prefix int) error {
	packed := getBuffer()
	packed.Write(plain.Next(prefix))
	err := pack(compressor, packed, plain)
	putBuffer(plain)
	if err != nil {
		putBuffer(packed)
		return err
	}
	c.answer.body, c.answer.compressed = packed, true
	c.info.SendStats.CompressedSize = packed.Len() - prefix
	setEnvelope(packed, FlagCompressed, prefix)
	return nil
}

// waitingBytes is about what a call needs besides its answer while that waits, in bytes: most of
// it is the stack of a goroutine.
const waitingBytes = 4 << 10

// count has the answer counted until Release, with so many bytes besides its body, or returns why
// it is not to be sent.
func (c *call) count(besides int) (refused *connect.Error) {
	c.counted, refused = c.lane.Count(c.ctx, c.profile.spec, c.info.PeerAddr, besides+c.answer.body.Len())
	return refused
}

// await has an answer counted, as count does, that waits for the caller to read it, and reports whether it has
// become another one: the same in less memory, or one that tells that there is no room for it.
// cut ends the wait.
func (c *call) await(besides int, cut func()) (changed bool) {
	if c.lane.Count == nil || c.answer.body == nil || c.ctx == nil { // Or it was refused before it began.
		return false
	}
	if c.counted == nil {
		if refused := c.count(besides); refused != nil {
			c.discard()
			c.finish(refused)
			return true
		}
	}
	c.counted.Await(cut)
	return c.fitBody()
}

// spareBytes is how much larger than its content a buffer may be that waits, in bytes.
const spareBytes = 4 << 10

// fitBody lets go of a buffer that is much larger than what it has, as those are that have had
// large messages. It reports whether the body is in another one.
func (c *call) fitBody() bool {
	large := c.answer.body
	if large.Cap() <= 2*large.Len()+spareBytes {
		return false
	}
	c.answer.body = bytes.NewBuffer(bytes.Clone(large.Bytes()))
	putBuffer(large)
	return true
}

// discard takes the answer away, as if nothing had been sent.
func (c *call) discard() {
	c.dropBody()
	c.answer, c.sent = answer{}, false
}

// Release lets go of the body, which is sent, or could not be finished, and of what Ready has
// found out.
func (c *call) Release() {
	if c.decoded != nil {
		c.decoded.Release()
		c.decoded = nil
	}
	c.dropBody()
}

// dropBody lets go of the body, which counts no more.
func (c *call) dropBody() {
	if c.counted != nil {
		c.counted.Release()
		c.counted = nil
	}
	if c.answer.body != nil {
		putBuffer(c.answer.body)
		c.answer.body = nil
	}
}
