package lane

import (
	"context"
	"crypto/tls"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
)

// Config says what a lane serves and how. Only Server must be set.
type Config struct {
	// Server has the procedures, and the interceptors that run around them. These do not change
	// the header of a request: calls on streams of the engine share it.
	Server *connect.Server
	// Codecs, Compressors, CompressMinBytes and ReadMaxBytes are the options
	// of connecthttp.Mount, with what the same handler has there.
	Codecs           []connect.Codec
	Compressors      []connect.Compressor
	CompressMinBytes int
	ReadMaxBytes     int
	// AllowsHost reports whether streams of the engine with this authority are answered;
	// others are left to the general way. The context is that of the connection. Default:
	// all are.
	AllowsHost func(ctx context.Context, authority string) bool
	// Authorize returns what lets in the calls of a procedure on streams of the engine that
	// have these Authorization headers, or nil to leave them to the general way, which
	// refuses them. The context and the state of TLS are those of the connection. Default:
	// all are let in.
	Authorize func(ctx context.Context, procedure string, authorization []string, state *tls.ConnectionState) Permit
	// Refuse returns what may refuse the calls of a procedure that have this header before
	// they begin, or nil. Names in the header are canonical. Default: none is refused.
	Refuse func(spec connect.Spec, header http.Header) Refuser
	// Ready reports whether a call with this message is sure not to wait for
	// anything. Such a call may run on the goroutine that reads its connection, which
	// is cheap, but lets all other calls of the connection wait for it. The context is
	// the one for the call; Ready may add to it what it has found. Default: no call is.
	Ready func(ctx context.Context, info *connect.CallInfo, message []byte) (context.Context, Request, bool)
	// Count counts an answer of so many bytes to a caller at an address, or returns the failure
	// that it gets instead. Those are counted that wait for their callers to read them, and those
	// whose messages IsLarge says are so. The context is that of the call. Default: none is.
	Count   func(ctx context.Context, spec connect.Spec, peer string, bytes int) (Counted, *connect.Error)
	IsLarge func(msg any) bool
}

// Counted is an answer that is counted.
type Counted interface {
	// Await is told that it waits for its caller to read it. cut ends the wait, and the call.
	Await(cut func())
	// Release is called when it is not there any more. cut is not called then.
	Release()
}

// Refuser returns the failure of a call that is not to begin, or nil. It waits for nothing. No
// interceptor and no handler sees such a call.
type Refuser func(context.Context, Arrival) *connect.Error

// Arrival is a call that has come and has not begun.
type Arrival struct {
	Protocol, Codec string // Their names.
	PeerAddr        string
	Message         []byte // Unpacked. It is the lane's.
}

// Permit lets calls with the same header in, as long as it is valid.
type Permit interface {
	Valid() bool
	// Value is what the contexts of the calls have besides that of their streams, or nil.
	Value(key any) any
}

// Request is a message that is decoded already.
type Request interface {
	// CopyTo copies it to a message of its type, and returns false for other types.
	CopyTo(msg any) bool
	// Release lets go of it, and of the context that came with it. The call has ended.
	Release()
}

// Lane serves unary calls that have arrived whole.
type Lane struct {
	Config
	specs       map[string]connect.Spec
	formats     map[string]*format // By content type.
	compressors map[string]connect.Compressor
}

// format is how the calls of a content type look.
type format struct {
	protocol    string
	contentType string
	codec       connect.Codec
	enveloped   bool
	heads       map[string]*head // Of responses, by compression.
	failed      *head            // Of an error of Connect.
}

// gRPC and GRPCWeb are the content types of gRPC, and of gRPC-Web in its binary form, without
// the name of a codec.
const (
	gRPC    = "application/grpc"
	GRPCWeb = "application/grpc-web"
)

// IsNativeGRPC reports whether a content type is of gRPC itself.
func IsNativeGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, gRPC)
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// prefixes are the content types of the protocols, before the name of the codec.
var prefixes = []struct{ protocol, prefix string }{
	{connect.ProtocolNameConnect, "application/"},
	{connect.ProtocolNameGRPC, gRPC + "+"},
	{connect.ProtocolNameGRPCWeb, GRPCWeb + "+"},
}

// New returns a lane for the unary procedures of a server.
func New(config Config) *Lane {
	l := &Lane{
		Config: config, specs: make(map[string]connect.Spec), formats: make(map[string]*format),
		compressors: make(map[string]connect.Compressor),
	}
	for spec := range config.Server.Specs() {
		if spec.StreamType == connect.StreamTypeUnary {
			l.specs[spec.Procedure] = spec
		}
	}
	var names []string
	for _, compressor := range config.Compressors {
		names = append(names, compressor.Name())
		l.compressors[compressor.Name()] = compressor
	}
	for _, p := range prefixes {
		for _, codec := range config.Codecs {
			l.add(p.protocol, p.prefix+codec.Name(), codec, names)
			if bare, ok := strings.CutSuffix(p.prefix, "+"); ok && codec.Name() == connect.CodecNameProto {
				l.add(p.protocol, bare, codec, names)
			}
		}
	}
	return l
}

func (l *Lane) add(protocol, contentType string, codec connect.Codec, compressions []string) {
	f := &format{
		protocol: protocol, contentType: contentType, codec: codec,
		enveloped: protocol != connect.ProtocolNameConnect, heads: make(map[string]*head),
	}
	for _, compression := range append([]string{connect.CompressionNameIdentity}, compressions...) {
		f.heads[compression] = newHead(f, contentType, compression, compressions)
	}
	f.failed = newHead(f, "application/json", connect.CompressionNameIdentity, compressions)
	l.formats[contentType] = f
}

// header is the header of a request. Names are canonical.
type header http.Header

// get is the first value of a field, or "".
func (h header) get(name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// profile is what the header of a call says.
type profile struct {
	spec       connect.Spec
	format     *format
	received   string // Name of the compression of the request.
	sent       string // And of the response.
	timeout    time.Duration
	hasTimeout bool
	get        bool
	header     header
	host       [1]string
	request    connect.Header // As calls see it: they share it, so that nobody may change it.
	form       form           // Of a GET's message.
	message    []byte         // Of a GET.
	refuse     Refuser        // Nil where none is refused.
}

// share makes what calls see of the header.
func (p *profile) share() {
	for name, values := range p.header {
		p.request.SetValues(name, slices.Clip(values)) // Appending to them copies them.
	}
	p.request.SetValues("Host", p.host[:])
}

// fill says what a header says, and reports whether it is of a call that the lane takes.
func (p *profile) fill(l *Lane, method, path, query, host string, h header) (ok bool) {
	if p.spec, ok = l.specs[path]; !ok || host == "" {
		return false
	}
	p.header, p.host[0] = h, host
	if l.Refuse != nil {
		p.refuse = l.Refuse(p.spec, http.Header(h))
	}
	switch {
	case method == http.MethodPost && query == "":
		p.format = l.formats[h.get("Content-Type")]
	case method == http.MethodGet && p.spec.IdempotencyLevel == connect.IdempotencyNoSideEffects:
		return p.fillGet(l, query)
	}
	switch {
	case p.format == nil:
		return false
	case p.format.enveloped:
		return p.fillGRPC(l)
	}
	return p.fillConnect(l, h.get("Content-Encoding"))
}

// fillGRPC takes what gRPC and gRPC-Web have in the header.
func (p *profile) fillGRPC(l *Lane) (ok bool) {
	h := p.header
	if h.get("Content-Encoding") != "" || h.get("Connect-Content-Encoding") != "" {
		return false
	}
	if p.received, p.sent, ok = l.negotiate(h.get("Grpc-Encoding"), h.get("Grpc-Accept-Encoding")); !ok {
		return false
	}
	p.timeout, p.hasTimeout, ok = ParseGRPCTimeout(h.get("Grpc-Timeout"))
	return ok
}

// fillConnect takes what Connect has in the header.
func (p *profile) fillConnect(l *Lane, encoding string) (ok bool) {
	h := p.header
	if version := h.get("Connect-Protocol-Version"); version != "" && version != "1" {
		return false
	}
	if h.get("Grpc-Encoding") != "" || h.get("Connect-Content-Encoding") != "" {
		return false
	}
	if p.received, p.sent, ok = l.negotiate(encoding, h.get("Accept-Encoding")); !ok {
		return false
	}
	p.timeout, p.hasTimeout, ok = ParseConnectTimeout(h.get("Connect-Timeout-Ms"))
	return ok
}

// fillGet takes a call that stands in a URL.
func (p *profile) fillGet(l *Lane, raw string) (ok bool) {
	q, ok := parseQuery(raw)
	if !ok || p.header.get("Content-Encoding") != "" || p.header.get("Content-Type") != "" {
		return false
	}
	p.get, p.form = true, q.form
	p.format = l.formats["application/"+q.encoding]
	if p.format == nil || p.format.enveloped || !p.fillConnect(l, q.compression) {
		return false
	}
	p.message, ok = q.decoded()
	return ok
}

// messageLike is the message of a GET that is like another: of the same procedure and form, with
// the same header. It returns false for one that is not.
func (p *profile) messageLike(method, path, raw string) ([]byte, bool) {
	if !p.get || method != http.MethodGet || path != p.spec.Procedure {
		return nil, false
	}
	q, ok := parseQuery(raw)
	if !ok || q.form != p.form {
		return nil, false
	}
	return q.decoded()
}

// negotiate is the compressions of the request and the response: a caller that
// compresses gets the same back, others get the first of those they accept that the
// server has.
func (l *Lane) negotiate(encoding, accepts string) (received, sent string, ok bool) {
	if encoding != "" && encoding != connect.CompressionNameIdentity {
		_, ok := l.compressors[encoding]
		return encoding, encoding, ok
	}
	for name := range strings.FieldsFuncSeq(accepts, func(r rune) bool { return r == ',' || r == ' ' }) {
		if _, ok := l.compressors[name]; ok {
			return connect.CompressionNameIdentity, name, true
		}
	}
	return connect.CompressionNameIdentity, connect.CompressionNameIdentity, true
}
