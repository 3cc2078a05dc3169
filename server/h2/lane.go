package h2

import (
	"context"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"golang.org/x/net/http2/hpack"
)

// Lane is the short way for unary gRPC calls: from the connection to the Connect
// server without a request and a response of net/http between them. What it takes it
// answers as connecthttp does; what is out of the ordinary it leaves to the Handler:
// unknown compression, a broken timeout, cookies, origins.
type Lane struct {
	// Server has the procedures, and the interceptors that run around them. The calls
	// have no connect.CallInfo.TransportInfo, since there is no HTTP request.
	Server *connect.Server
	// Takes reports whether the lane takes a unary procedure. Default: it takes all.
	Takes func(connect.Spec) bool
	// TakesHost reports whether the lane takes calls whose :authority this is. The
	// context is that of the connection. Default: it takes all.
	TakesHost func(ctx context.Context, authority string) bool
	// Codecs, Compressors, CompressMinBytes, ReadMaxBytes and SendMaxBytes are the
	// options of connecthttp.Mount, with the same defaults but for Compressors: none.
	Codecs           []connect.Codec
	Compressors      []connect.Compressor
	CompressMinBytes int
	ReadMaxBytes     int
	SendMaxBytes     int
	// ReadTimeout is how long a request may take to come. Default: 10 seconds.
	ReadTimeout time.Duration
	// Inline reports whether a call with this message, not compressed and not decoded
	// yet, is sure not to block. Such a call runs on the reader of its connection,
	// which is cheap, but lets all other calls of the connection wait for it. The
	// context is the one for the call; Inline may add to it what it has found.
	// Default: no call is sure.
	Inline func(ctx context.Context, info *connect.CallInfo, message []byte) (context.Context, bool)
}

// lane is a Lane made ready.
type lane struct {
	Lane
	specs       map[string]connect.Spec
	formats     map[string]*format // By content type.
	compressors map[string]connect.Compressor
}

// format is a content type, and what responses of that type start with.
type format struct {
	codec   connect.Codec
	headers map[string]*fieldBlock // By compression.
}

const (
	grpcContentType     = "application/grpc"
	defaultReadMaxBytes = 4 << 20
)

func newLane(config Lane) *lane {
	setDefault(&config.ReadMaxBytes, defaultReadMaxBytes)
	setDefault(&config.ReadTimeout, 10*time.Second)
	if config.Codecs == nil {
		config.Codecs = []connect.Codec{connectproto.NewBinaryCodec(), connectproto.NewJSONCodec()}
	}
	l := &lane{
		Lane: config, specs: make(map[string]connect.Spec), formats: make(map[string]*format),
		compressors: make(map[string]connect.Compressor),
	}
	for spec := range config.Server.Specs() {
		if spec.StreamType == connect.StreamTypeUnary && (config.Takes == nil || config.Takes(spec)) {
			l.specs[spec.Procedure] = spec
		}
	}
	var names []string
	for _, compressor := range config.Compressors {
		names = append(names, compressor.Name())
		l.compressors[compressor.Name()] = compressor
	}
	for _, codec := range config.Codecs {
		l.addFormat(grpcContentType+"+"+codec.Name(), codec, names)
		if codec.Name() == connect.CodecNameProto {
			l.addFormat(grpcContentType, codec, names)
		}
	}
	return l
}

func (l *lane) addFormat(contentType string, codec connect.Codec, compressions []string) {
	f := &format{codec: codec, headers: make(map[string]*fieldBlock)}
	for _, compression := range append([]string{connect.CompressionNameIdentity}, compressions...) {
		fields := []hpack.HeaderField{
			{Name: ":status", Value: "200"},
			{Name: "content-type", Value: contentType},
			{Name: "grpc-accept-encoding", Value: strings.Join(compressions, ",")},
		}
		if compression != connect.CompressionNameIdentity {
			fields = append(fields, hpack.HeaderField{Name: "grpc-encoding", Value: compression})
		}
		f.headers[compression] = &fieldBlock{fields}
	}
	l.formats[contentType] = f
}

// profile is what the header of a call says. Calls with the same header share it.
type profile struct {
	spec       connect.Spec
	format     *format
	received   string // Name of the compression of the request.
	sent       string // And of the response.
	timeout    time.Duration
	hasTimeout bool
	declared   int64
	header     []metadata
}

// metadata is one field of the request's header, with its canonical name.
type metadata struct {
	key    string
	values []string
}

// profile returns what a header says if it is of a call that the lane takes, and
// nil otherwise.
func (l *lane) profile(ctx context.Context, h *head) *profile {
	spec, ok := l.specs[h.path]
	if !ok || h.method != "POST" || h.authority == "" || h.tooLarge {
		return nil
	}
	if l.TakesHost != nil && !l.TakesHost(ctx, h.authority) {
		return nil
	}
	p := &profile{spec: spec, declared: h.contentLength}
	for _, f := range h.fields {
		switch f.Name {
		case "cookie", "origin", "expect", "trailer", "host", "content-encoding", "connect-content-encoding":
			return nil
		}
		p.add(f)
	}
	p.add(hpack.HeaderField{Name: "host", Value: h.authority})
	if p.format, ok = l.formats[h.get("content-type")]; !ok {
		return nil
	}
	if p.received, p.sent, ok = l.compressions(h.get("grpc-encoding"), h.get("grpc-accept-encoding")); !ok {
		return nil
	}
	if p.timeout, p.hasTimeout, ok = parseTimeout(h.get("grpc-timeout")); !ok {
		return nil
	}
	return p
}

func (p *profile) add(f hpack.HeaderField) {
	key := canonicalName(f.Name)
	for i := range p.header {
		if p.header[i].key == key {
			p.header[i].values = append(p.header[i].values, f.Value)
			return
		}
	}
	p.header = append(p.header, metadata{key, []string{f.Value}})
}

// compressions are those of the request and the response: a caller that compresses
// gets the same back, others get the first of those they accept that we know.
func (l *lane) compressions(encoding, accepts string) (received, sent string, ok bool) {
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

var timeoutUnits = map[byte]time.Duration{
	'n': time.Nanosecond, 'u': time.Microsecond, 'm': time.Millisecond,
	'S': time.Second, 'M': time.Minute, 'H': time.Hour,
}

// maxTimeoutLength is that of eight digits and a unit.
const maxTimeoutLength = 9

// parseTimeout parses a grpc-timeout: up to eight digits and a unit. One that is
// longer than a time.Duration is none.
func parseTimeout(value string) (timeout time.Duration, has, ok bool) {
	if value == "" {
		return 0, false, true
	}
	unit, known := timeoutUnits[value[len(value)-1]]
	n, err := strconv.ParseUint(value[:len(value)-1], 10, 63)
	if !known || err != nil || len(value) > maxTimeoutLength {
		return 0, false, false
	}
	timeout = time.Duration(n) * unit
	if timeout/unit != time.Duration(n) {
		return 0, false, true
	}
	return timeout, true, true
}

// knownProfiles remembers the profiles of the last headers of a connection by their
// encoded form, which is most often the same again.
type knownProfiles struct {
	all  [8]knownProfile
	next int
}

type knownProfile struct {
	block    []byte
	inserted uint64 // Of the decoder: the block means the same until its table changes.
	profile  *profile
}

func (k *knownProfiles) find(block []byte, inserted uint64) *profile {
	for i := range k.all {
		if known := &k.all[i]; known.inserted == inserted && string(known.block) == string(block) {
			return known.profile
		}
	}
	return nil
}

func (k *knownProfiles) add(block []byte, inserted uint64, p *profile) {
	known := &k.all[k.next%len(k.all)]
	k.next++
	known.block = append(known.block[:0], block...)
	known.inserted, known.profile = inserted, p
}
