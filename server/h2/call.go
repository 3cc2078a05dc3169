package h2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	envelopeSize   = 5
	flagCompressed = 0x1
	// callBuffer is how much of a request is gathered before its call starts, in
	// bytes. Larger ones are read by their call, when interceptors have let it in.
	callBuffer = 16 << 10
	// keptBuffer is the largest buffer that is kept for other calls, in bytes.
	keptBuffer = 1 << 20
)

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

var callBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getBuffer() *bytes.Buffer { return callBuffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		b.Reset()
		callBuffers.Put(b)
	}
}

// openCall opens a stream for a call. The reader calls it.
func (c *conn) openCall(id uint32, p *profile, end bool) {
	l := &call{stream: stream{id: id, declared: p.declared}, lane: c.srv.lane, profile: p}
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
func (l *call) runInline() bool {
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

// Receive decodes the one message of the request.
func (l *call) Receive(msg any) error {
	if l.received {
		return io.EOF
	}
	l.received = true
	if err := l.receive(msg); err == io.EOF {
		return connect.NewError(connect.CodeUnimplemented, "unary request has zero messages")
	} else if err != nil {
		return err
	}
	if err := l.receive(msg); err == nil {
		return connect.NewError(connect.CodeUnimplemented, "unary request has multiple messages")
	} else if err != io.EOF {
		return err
	}
	return nil
}

// receive decodes the next message, or returns io.EOF if there is none.
func (l *call) receive(msg any) error {
	if _, err := io.ReadFull(&l.stream, l.prefix[:]); err == io.EOF {
		return io.EOF
	} else if err != nil {
		return l.readError(err, connect.CodeInternal, "protocol error: incomplete envelope")
	}
	size, limit := int64(binary.BigEndian.Uint32(l.prefix[1:])), int64(l.lane.ReadMaxBytes)
	if limit > 0 && size > limit {
		return connect.Errorf(connect.CodeResourceExhausted, "message size %d is larger than configured max %d", size, limit)
	}
	message := getBuffer()
	defer putBuffer(message)
	if err := l.readMessage(message, int(size)); err == io.EOF {
		return connect.Errorf(connect.CodeInternal, "protocol error: promised %d bytes in enveloped message, got %d bytes",
			size, message.Len()).WithCause(io.ErrUnexpectedEOF)
	} else if err != nil {
		return l.readError(err, connect.CodeUnknown, "read enveloped message")
	}
	return l.decode(l.prefix[0], message, msg)
}

// readMessage reads size bytes. It makes room for those that come, not for those
// that are promised.
func (l *call) readMessage(message *bytes.Buffer, size int) error {
	for message.Len() < size {
		n := min(size-message.Len(), 2*maxFrameSize)
		message.Grow(n)
		n, err := l.Read(message.AvailableBuffer()[:n])
		message.Write(message.AvailableBuffer()[:n])
		if err != nil {
			return err
		}
	}
	return nil
}

// decode decompresses and decodes a message.
func (l *call) decode(flags byte, message *bytes.Buffer, msg any) error {
	decompressor := l.lane.compressors[l.profile.received]
	compressed := flags&flagCompressed != 0
	if compressed && decompressor == nil {
		return connect.NewError(connect.CodeInternal, "protocol error: sent compressed message without compression support")
	}
	stats := connect.MessageStats{}
	if compressed && message.Len() > 0 {
		stats.CompressedSize = message.Len()
		unpacked := getBuffer()
		defer putBuffer(unpacked)
		if err := decompress(decompressor, unpacked, message, int64(l.lane.ReadMaxBytes)); err != nil {
			return err
		}
		message = unpacked
	}
	if flags&^flagCompressed != 0 {
		return l.invalidFlags(flags)
	}
	if stats.Size = message.Len(); stats.Size > 0 {
		if err := l.profile.format.codec.UnmarshalRead(l.ctx, message, msg); err != nil {
			return connect.Errorf(connect.CodeInvalidArgument, "unmarshal message: %s", err).WithCause(err)
		}
	}
	l.info.ReceiveStats = stats
	return nil
}

// invalidFlags is the error of a message with flags that gRPC does not have.
func (l *call) invalidFlags(flags byte) error {
	if extra, _ := io.Copy(io.Discard, &l.stream); extra > 0 {
		return connect.Errorf(connect.CodeInternal, "corrupt response: %d extra bytes after end of stream", extra)
	}
	return connect.Errorf(connect.CodeInternal, "protocol error: invalid envelope flags %d", flags)
}

func decompress(compressor connect.Compressor, dst, src *bytes.Buffer, limit int64) error {
	reader, err := compressor.Decompress(src)
	if err != nil {
		return connect.Errorf(connect.CodeInvalidArgument, "get decompressor: %s", err).WithCause(err)
	}
	defer reader.Close()
	var bounded io.Reader = reader
	if limit > 0 {
		bounded = io.LimitReader(reader, limit+1)
	}
	if n, err := dst.ReadFrom(bounded); err != nil {
		return connect.Errorf(connect.CodeInvalidArgument, "decompress: %s", err).WithCause(err)
	} else if limit > 0 && n > limit {
		return connect.Errorf(connect.CodeResourceExhausted, "message is larger than configured max %d", limit)
	}
	return nil
}

// readError is the error of a body that ends before its message does.
func (l *call) readError(err error, code connect.Code, what string) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(l.ctx.Err(), context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err.Error()).WithCause(err)
	case err == errStreamClosed, err == errClientGone, l.ctx.Err() != nil:
		return connect.NewError(connect.CodeCanceled, err.Error()).WithCause(err)
	}
	return connect.Errorf(code, what+": %s", err).WithCause(err)
}

// SendHeaders does nothing: the header of a unary response goes out with it.
func (l *call) SendHeaders() error { return nil }

// Send encodes the message of the response. It goes out when the handler returns.
func (l *call) Send(msg any) error {
	l.takeMetadata()
	if msg == nil {
		return nil
	}
	encoded := getBuffer()
	defer putBuffer(encoded)
	if err := l.profile.format.codec.MarshalWrite(l.ctx, encoded, msg); err != nil {
		return connect.Errorf(connect.CodeInternal, "marshal message: %s", err).WithCause(err)
	}
	compressor, flags, limit := l.lane.compressors[l.profile.sent], byte(0), l.lane.SendMaxBytes
	stats, what := connect.MessageStats{Size: encoded.Len()}, "message"
	if compressor != nil && encoded.Len() >= l.lane.CompressMinBytes {
		packed := getBuffer()
		defer putBuffer(packed)
		if err := compress(compressor, packed, encoded); err != nil {
			return err
		}
		encoded, flags, what = packed, flagCompressed, "compressed message"
		stats.CompressedSize = packed.Len()
	}
	if limit > 0 && encoded.Len() > limit {
		return connect.Errorf(connect.CodeResourceExhausted, "%s size %d exceeds sendMaxBytes %d", what, encoded.Len(), limit)
	}
	if l.answer == nil {
		l.answer = getBuffer()
	}
	prefix := append(l.answer.AvailableBuffer(), flags)
	l.answer.Write(binary.BigEndian.AppendUint32(prefix, uint32(encoded.Len())))
	l.answer.Write(encoded.Bytes())
	l.info.SendStats = stats
	return nil
}

func compress(compressor connect.Compressor, dst, src *bytes.Buffer) error {
	writer, err := compressor.Compress(dst)
	if err != nil {
		return connect.Errorf(connect.CodeUnknown, "get compressor: %s", err).WithCause(err)
	}
	_, err = src.WriteTo(writer)
	if closeErr := writer.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return connect.Errorf(connect.CodeInternal, "compress: %s", err).WithCause(err)
	}
	return nil
}

// takeMetadata takes header and trailer as the handler has set them until now.
func (l *call) takeMetadata() {
	if l.sent {
		return
	}
	l.sent = true
	l.header = appendMetadata(nil, l.info.ResponseHeader(), false)
	l.trailer = appendMetadata(nil, l.info.ResponseTrailer(), true)
}

// reserved are the fields that belong to the protocol. Handlers cannot set them.
var reserved = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Content-Encoding": true, "Trailer": true, "Date": true,
	"Accept-Encoding": true, "Trailer-": true, "Connect-Content-Encoding": true, "Connect-Accept-Encoding": true,
	"Connect-Timeout-Ms": true, "Connect-Protocol-Version": true, "Grpc-Encoding": true,
	"Grpc-Accept-Encoding": true, "Grpc-Timeout": true, "Grpc-Status": true, "Grpc-Message": true,
	"Grpc-Status-Details-Bin": true,
}

func appendMetadata(fields []hpack.HeaderField, header *connect.Header, trailer bool) []hpack.HeaderField {
	if header.Len() == 0 {
		return fields
	}
	for key, values := range header.All() {
		if reserved[key] || trailer && !httpguts.ValidTrailerHeader(key) {
			continue
		}
		for _, value := range values {
			fields = appendField(fields, key, value)
		}
	}
	return fields
}

var statusOK = &fieldBlock{[]hpack.HeaderField{{Name: "grpc-status", Value: "0"}}}

// wireError is the error of a handler as its caller may see it: only errors of this
// process that were made for callers keep their text.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	if authored, ok := errors.AsType[*connect.Error](err); ok && authored != nil {
		if authored.IsRemote() {
			return connect.NewError(connect.CodeInternal, "")
		}
		return authored
	}
	code := connect.CodeUnknown
	switch {
	case errors.Is(err, context.Canceled):
		code = connect.CodeCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	}
	return connect.NewError(code, "")
}

// appendStatus appends the fields that tell how a call has ended. err is nil or of
// wireError.
func appendStatus(fields []hpack.HeaderField, err error) []hpack.HeaderField {
	failure := new(connect.Error)
	if !errors.As(err, &failure) {
		return append(fields, statusOK.fields...)
	}
	code, message := failure.Code(), failure.Message()
	details, packErr := packStatus(failure)
	if packErr != nil {
		code, message = connect.CodeInternal, fmt.Sprintf("marshal protobuf status: %v", packErr)
	}
	fields = appendField(fields, "grpc-status", strconv.Itoa(int(code)))
	fields = appendField(fields, "grpc-message", percentEncode(message))
	if len(details) > 0 {
		fields = appendField(fields, "grpc-status-details-bin", connect.EncodeBinaryHeader(details))
	}
	return fields
}

// packStatus encodes an error with details as a google.rpc.Status: code, message and
// details are its fields 1 to 3.
func packStatus(failure *connect.Error) ([]byte, error) {
	details := failure.Details()
	if len(details) == 0 {
		return nil, nil
	}
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(failure.Code()))
	if failure.Message() != "" {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, failure.Message())
	}
	for _, detail := range details {
		packed, err := proto.Marshal(connectproto.ErrorDetailToAny(detail))
		if err != nil {
			return nil, err
		}
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendBytes(b, packed)
	}
	return b, nil
}

// percentEncode escapes what grpc-message cannot carry: all but printable ASCII, and
// the percent sign.
func percentEncode(text string) string {
	b := make([]byte, 0, len(text))
	for i := range len(text) {
		if char := text[i]; char >= ' ' && char <= '~' && char != '%' {
			b = append(b, char)
		} else {
			b = fmt.Appendf(b, "%%%02X", char)
		}
	}
	return string(b)
}
