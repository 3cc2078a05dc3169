package lane

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/server/h2"
)

// field is one field of a header or a trailer, with its canonical name.
type field struct {
	name   string
	values []string
}

// head is what the headers of many responses start with.
type head struct {
	fields   []field
	native   bool // Of gRPC itself: a response has a trailer, and no length or date.
	onStream *h2.SharedFields
}

func newHead(f *format, contentType, compression string, compressions []string) *head {
	accepts, encoding := "Grpc-Accept-Encoding", "Grpc-Encoding"
	if !f.enveloped {
		accepts, encoding = "Accept-Encoding", "Content-Encoding"
	}
	h := &head{fields: []field{{"Content-Type", shared(contentType)}, {accepts, shared(strings.Join(compressions, ","))}}}
	if compression != connect.CompressionNameIdentity {
		h.fields = append(h.fields, field{encoding, shared(compression)})
	}
	h.native = f.protocol == connect.ProtocolNameGRPC
	h.onStream = sharedHead(h)
	return h
}

// shared is a value that many responses share: appending to it copies it.
func shared(value string) []string { return []string{value}[:1:1] }

// answer is what goes back to the caller.
type answer struct {
	status     int // Of HTTP.
	head       *head
	header     []field
	body       *bytes.Buffer // Nil where there is none.
	compressed bool
	trailer    []field // Of gRPC; Nil where the header says how the call has ended.
}

// takeMetadata takes header and trailer as the handler has set them until now.
func (c *call) takeMetadata() {
	if c.sent {
		return
	}
	c.kept.fields = appendMetadata(c.kept.fields[:0], c.info.ResponseHeader())
	c.answer.header = c.kept.fields
	c.answer.trailer = appendMetadata(nil, c.info.ResponseTrailer())
}

// reserved are the fields that belong to the protocols. Handlers cannot set them.
var reserved = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Content-Encoding": true, "Trailer": true, "Date": true,
	"Accept-Encoding": true, "Trailer-": true, "Connect-Content-Encoding": true, "Connect-Accept-Encoding": true,
	"Connect-Timeout-Ms": true, "Connect-Protocol-Version": true, "Grpc-Encoding": true,
	"Grpc-Accept-Encoding": true, "Grpc-Timeout": true, "Grpc-Status": true, "Grpc-Message": true,
	"Grpc-Status-Details-Bin": true,
}

func appendMetadata(fields []field, header *connect.Header) []field {
	if header.Len() == 0 {
		return fields
	}
	fields = slices.Grow(fields, header.Len()+1) // And perhaps Vary.
	for name, values := range header.All() {
		if !reserved[name] {
			fields = append(fields, field{name, values})
		}
	}
	return fields
}

// visible is the error of a handler as its caller may see it: only errors of this
// process that were made for callers keep their text.
func visible(err error) *connect.Error {
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

// finish puts the answer together.
func (c *call) finish(failure *connect.Error) {
	a, f := &c.answer, c.profile.format
	a.status, a.head = http.StatusOK, f.heads[c.profile.sent]
	switch f.protocol {
	case connect.ProtocolNameConnect:
		c.finishConnect(failure)
	case connect.ProtocolNameGRPC:
		c.finishGRPC(failure)
	case connect.ProtocolNameGRPCWeb:
		c.finishWeb(failure)
	}
}

// finishGRPC tells in the trailer how the call has ended, or in the header if there is
// nothing else to say (Trailers-Only).
func (c *call) finishGRPC(failure *connect.Error) {
	a := &c.answer
	a.trailer = withStatus(a.trailer, failure)
	if !c.sent && len(a.header) == 0 {
		a.header, a.trailer = a.trailer, nil
	}
}

// finishWeb tells it in a last message, or in the header.
func (c *call) finishWeb(failure *connect.Error) {
	c.finishGRPC(failure)
	a := &c.answer
	trailer := a.trailer
	if a.trailer = nil; trailer == nil {
		return
	}
	if a.body == nil {
		a.body = getBuffer()
	}
	if isOK(trailer) {
		appendEnvelope(a.body, FlagTrailer, []byte("grpc-status: 0\r\n"))
		return
	}
	c.appendTrailer(trailer)
}

// appendTrailer appends the last message of gRPC-Web, compressed as others are.
func (c *call) appendTrailer(trailer []field) {
	lower := make(http.Header, len(trailer))
	for _, t := range trailer {
		lower[strings.ToLower(t.name)] = t.values
	}
	text, flags := getBuffer(), byte(FlagTrailer)
	_ = lower.Write(text) // Writing to a buffer does not fail.
	if compressor := c.compressor(text.Len()); compressor != nil {
		packed := getBuffer()
		if pack(compressor, packed, text) == nil {
			text, packed, flags = packed, text, FlagTrailer|FlagCompressed
		}
		putBuffer(packed)
	}
	appendEnvelope(c.answer.body, flags, text.Bytes())
	putBuffer(text)
}

// varyByEncoding is what HTTP caches have to know of every Connect GET.
var varyByEncoding = field{"Vary", shared("Accept-Encoding")}

// finishConnect makes headers of the trailer, and of a failure the whole answer. One
// that comes after the message is not told, as connecthttp has it.
func (c *call) finishConnect(failure *connect.Error) {
	a, f := &c.answer, c.profile.format
	if !a.compressed {
		a.head = f.heads[connect.CompressionNameIdentity]
	}
	for _, t := range a.trailer {
		a.header = append(a.header, field{"Trailer-" + t.name, t.values})
	}
	a.trailer = nil
	if c.profile.get {
		a.header = append(a.header, varyByEncoding)
	}
	switch {
	case failure == nil || a.body != nil:
	case c.profile.get && connecthttp.IsNotModifiedError(failure):
		a.status = http.StatusNotModified
	default:
		a.head, a.body = f.failed, getBuffer()
		a.status = writeFailure(a.body, failure)
	}
}

// refusals writes errors as connecthttp does.
var refusals = connecthttp.NewErrorWriter()

// grpcOK is the trailer of most calls of gRPC.
var grpcOK = []field{{"Grpc-Status", shared("0")}}

func isOK(trailer []field) bool { return len(trailer) == 1 && &trailer[0] == &grpcOK[0] }

// webRequest and jsonRequest are requests whose failures refusals writes into the
// header, and as a body.
var (
	webRequest  = &http.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {GRPCWeb}}}
	jsonRequest = &http.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/json"}}}
)

// withStatus is a trailer with the fields that tell how a call has ended.
func withStatus(trailer []field, failure *connect.Error) []field {
	if len(trailer) == 0 {
		return statusOf(failure)
	}
	return append(trailer, statusOf(failure)...)
}

// statusOf is the fields that tell how a call of gRPC has ended.
func statusOf(failure *connect.Error) []field {
	if failure == nil {
		return grpcOK
	}
	if last := lastStatus.Load(); last != nil && last.of == failure {
		return last.fields
	}
	written := &status{failure, slices.Clip(writeStatus(failure))} // Appending to them copies them.
	lastStatus.Store(written)
	return written.fields
}

// status is how a failure is told in gRPC.
type status struct {
	of     *connect.Error
	fields []field
}

// lastStatus is that of the last call that has failed. Calls that are refused for overload
// share one failure.
var lastStatus atomic.Pointer[status]

// writeStatus is the fields as connecthttp has them.
func writeStatus(failure *connect.Error) []field {
	written := written{header: make(http.Header), body: new(bytes.Buffer)}
	_ = refusals.Write(&written, webRequest, failure) // Writing to a buffer does not fail.
	var fields []field
	for name, values := range written.header {
		if strings.HasPrefix(name, "Grpc-") {
			fields = append(fields, field{name, values})
		}
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields
}

// writeFailure writes the body of a failure of Connect, and returns its status.
func writeFailure(body *bytes.Buffer, failure *connect.Error) int {
	written := written{header: make(http.Header), body: body}
	_ = refusals.Write(&written, jsonRequest, failure) // Writing to a buffer does not fail.
	body.WriteByte('\n')                               // As wire's codec ends other JSON, and edge.FinishErrors the errors of connecthttp.
	return written.status
}

// written is a response in memory.
type written struct {
	header http.Header
	status int
	body   *bytes.Buffer
}

func (w *written) Header() http.Header { return w.header }

func (w *written) WriteHeader(status int) { w.status = status }

func (w *written) Write(p []byte) (int, error) { return w.body.Write(p) }

// setEnvelope writes the prefix of the message that stands behind it.
func setEnvelope(body *bytes.Buffer, flags byte, prefix int) {
	if prefix > 0 {
		body.Bytes()[0] = flags
		binary.BigEndian.PutUint32(body.Bytes()[1:], uint32(body.Len()-prefix))
	}
}
