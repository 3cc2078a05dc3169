package edge

import (
	"mime"
	"net/http"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/lane"
)

const protocolVersionHeader = "Connect-Protocol-Version"

// compressionHeaders name the compression of a request, by protocol: gRPC, streams
// of Connect, and its unary calls.
var compressionHeaders = []string{"Grpc-Encoding", "Connect-Content-Encoding", "Content-Encoding"}

// FoldMediaType has the media types of requests in lower case, without blanks behind and without
// parameters that change nothing, as what comes after it compares them: RFC 9110 section 8.3.1
// gives case and blanks no meaning, and types that are called here have no parameters. What is
// said to be in another charset than UTF-8 stays so, and is refused.
func FoldMediaType(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if types := r.Header["Content-Type"]; len(types) > 0 {
			mediaType, parameters, _ := strings.Cut(types[0], ";")
			types[0] = strings.ToLower(strings.TrimRight(mediaType, " \t"))
			if parameters != "" && !isUTF8(types[0]+";"+parameters) {
				types[0] += ";" + parameters
			}
		}
		next.ServeHTTP(w, r)
	})
}

// FoldCompressions has the names of the compressions of requests in lower case: RFC 9110 section
// 8.4.1 gives case no meaning, and neither do the rules of ABNF in the specifications of gRPC and
// Connect. The lane leaves names that it does not know to what comes after this.
func FoldCompressions(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, header := range compressionHeaders {
			if names := r.Header[header]; len(names) > 0 {
				names[0] = strings.ToLower(names[0])
			}
		}
		next.ServeHTTP(w, r)
	})
}

// isUTF8 reports whether a media type with parameters says that it is of no other charset.
func isUTF8(mediaType string) bool {
	_, parameters, err := mime.ParseMediaType(mediaType)
	switch strings.ToLower(parameters["charset"]) {
	case "", "utf-8", "utf8", "us-ascii":
		return err == nil
	}
	return false
}

// headerCheck looks at the header of a request.
type headerCheck struct {
	specs        map[string]connect.Spec // By path.
	codecs       map[string]bool         // By name.
	compressions map[string]bool         // By name; "" is none.
	accepted     string                  // Their names, but for identity.
	refusals     *Refusals
	next         http.Handler
}

// RefuseBadHeaders refuses what Connect would refuse before any interceptor runs, so that
// these errors too have a reason and name what is at fault. What Connect refuses itself
// without looking at the body is answered early.
func RefuseBadHeaders(rpc *connect.Server, codecs []connect.Codec, compressors []connect.Compressor, refusals *Refusals) Middleware {
	specs := make(map[string]connect.Spec)
	for spec := range rpc.Specs() {
		specs[spec.Procedure] = spec
	}
	names := map[string]bool{"": true} // Of gRPC-Web, which then is proto.
	for _, codec := range codecs {
		names[codec.Name()] = true
	}
	compressions := map[string]bool{"": true, connect.CompressionNameIdentity: true}
	var accepted []string
	for _, compressor := range compressors {
		compressions[compressor.Name()] = true
		accepted = append(accepted, compressor.Name())
	}
	return func(next http.Handler) http.Handler {
		return &headerCheck{specs, names, compressions, strings.Join(accepted, ","), refusals, next}
	}
}

func (c *headerCheck) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	spec, known := c.specs[r.URL.Path]
	if known && failure.HasReasons(spec.Procedure) {
		if fault := c.fault(spec, r); fault != nil {
			// With another version the writer would not know the protocol of the request.
			r.Header.Del(protocolVersionHeader)
			w.Header().Set(acceptHeader(r), c.accepted)
			c.refusals.header.Inc()
			refuse(w, r, fault)
			return
		}
	}
	isCall := known && c.isCall(spec, r)
	if known && isUnserved(spec, r, isCall) {
		c.refusals.protocol.Inc()
	}
	if isCall {
		c.next.ServeHTTP(w, r)
		return
	}
	bodiless := *r
	bodiless.Body = http.NoBody // That of the request must not be closed before it has come.
	if known && failure.HasReasons(spec.Procedure) && isUnknownMedia(r) {
		c.next.ServeHTTP(&headerOnly{response: w}, &bodiless) // Connect has the content types that it takes.
		refuse(withStatus{w, http.StatusUnsupportedMediaType}, r, mediaFault(spec, r.Header.Get("Content-Type")))
		return
	}
	if known && r.Method != http.MethodPost && isUnserved(spec, r, isCall) {
		answer := headerOnly{response: w}
		c.next.ServeHTTP(&answer, &bodiless)
		w.Header().Set("Allow", strings.Replace(w.Header().Get("Allow"), http.MethodGet, "GET, HEAD", 1)) // See AnswerHead.
		refusePlainly(w, r, methodFault, answer.status)
		return
	}
	answerEarly(w, r, func() { c.next.ServeHTTP(w, &bodiless) })
}

// acceptHeader is where the protocol of a request has the compressions that the server knows. All
// answers of Connect say so.
func acceptHeader(r *http.Request) string {
	switch contentType := r.Header.Get("Content-Type"); {
	case strings.HasPrefix(contentType, "application/grpc"):
		return "Grpc-Accept-Encoding"
	case strings.HasPrefix(contentType, "application/connect+"):
		return "Connect-Accept-Encoding"
	}
	return "Accept-Encoding"
}

// methodFault is what somebody sees who opens the URL of an RPC in a browser.
const methodFault = "this is an RPC, which is called by POST with a message; with curl: -H 'Content-Type: application/json' -d '{}'"

// isUnknownMedia reports whether a request that is no call would be one with another content
// type, and is of no protocol that has a form of its own for errors. So comes what curl sends
// when it is told no content type.
func isUnknownMedia(r *http.Request) bool {
	contentType := r.Header.Get("Content-Type")
	return r.Method == http.MethodPost && !strings.HasPrefix(contentType, "application/grpc") && !strings.HasPrefix(contentType, "application/connect+")
}

// headerOnly takes the header of an answer that somebody else finishes.
type headerOnly struct {
	response http.ResponseWriter
	status   int
}

func (h *headerOnly) Header() http.Header         { return h.response.Header() }
func (h *headerOnly) Write(p []byte) (int, error) { return len(p), nil }
func (h *headerOnly) WriteHeader(status int)      { h.status = status }

// mediaFault says what to send instead.
func mediaFault(spec connect.Spec, contentType string) *connect.Error {
	if strings.HasPrefix(contentType, "application/json;") {
		return failure.MalformedField("Content-Type", "must say no other charset than UTF-8, which the request has to be in")
	}
	if spec.StreamType == connect.StreamTypeUnary {
		return failure.MalformedField("Content-Type", "must be application/json for JSON, or application/proto; with curl: -H 'Content-Type: application/json'")
	}
	return failure.MalformedField("Content-Type", "must be that of a stream, since this RPC streams: application/connect+json, application/connect+proto or that of gRPC. Use a client for one of these, such as grpcurl; CreateUser, UpdateUser and SearchUsers take plain JSON")
}

// isUnserved reports whether Connect refuses a request for its method, its content type, or
// its version of HTTP.
func isUnserved(spec connect.Spec, r *http.Request, isCall bool) bool {
	if isCall {
		return spec.StreamType == connect.StreamTypeBidi && r.ProtoMajor == 1
	}
	return r.Method != http.MethodGet || spec.IdempotencyLevel != connect.IdempotencyNoSideEffects || !r.URL.Query().Has("message")
}

// isCall reports whether Connect looks at the body of a request. Its media type has no parameters
// then, see FoldMediaType.
func (c *headerCheck) isCall(spec connect.Spec, r *http.Request) bool {
	mediaType := r.Header.Get("Content-Type")
	if r.Method != http.MethodPost || lane.IsNativeGRPC(mediaType) {
		return r.Method == http.MethodPost
	}
	prefix := "application/"
	switch {
	case strings.HasPrefix(mediaType, lane.GRPCWeb):
		prefix = lane.GRPCWeb
		mediaType = strings.Replace(mediaType, "+", "", 1)
	case spec.StreamType != connect.StreamTypeUnary:
		prefix = "application/connect+"
	}
	codec, ok := strings.CutPrefix(mediaType, prefix)
	return ok && c.codecs[codec]
}

// fault is what is wrong with the parts of a request that are not its message.
func (c *headerCheck) fault(spec connect.Spec, r *http.Request) *connect.Error {
	for _, header := range compressionHeaders {
		if !c.compressions[r.Header.Get(header)] {
			return failure.New(failure.UnknownCompression)
		}
	}
	if r.Method == http.MethodGet {
		return c.queryFault(spec, r)
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		if _, _, ok := lane.ParseGRPCTimeout(r.Header.Get("Grpc-Timeout")); !ok {
			return failure.MalformedField("Grpc-Timeout", "must be at most 8 digits and one of H, M, S, m, u, n")
		}
		return nil
	}
	if version := r.Header.Get(protocolVersionHeader); version != "" && version != "1" {
		return failure.MalformedField(protocolVersionHeader, `must be "1"`)
	}
	return connectTimeoutFault(r)
}

// queryFault is what is wrong with the query of a Connect GET.
func (c *headerCheck) queryFault(spec connect.Spec, r *http.Request) *connect.Error {
	query := r.URL.Query()
	switch {
	case !c.compressions[query.Get("compression")]:
		return failure.New(failure.UnknownCompression)
	case query.Has("connect") && query.Get("connect") != "v1":
		return failure.MalformedField("connect", `must be "v1"`)
	case query.Has("encoding") && !query.Has("message"):
		return failure.MalformedField("message", "must be there: it is the request")
	case spec.IdempotencyLevel == connect.IdempotencyNoSideEffects && query.Has("message") && (query.Get("encoding") == "" || !c.codecs[query.Get("encoding")]):
		return failure.MalformedField("encoding", "must be json or proto")
	}
	return connectTimeoutFault(r)
}

func connectTimeoutFault(r *http.Request) *connect.Error {
	const header = "Connect-Timeout-Ms"
	if _, _, ok := lane.ParseConnectTimeout(r.Header.Get(header)); !ok {
		return failure.MalformedField(header, "must be a number of milliseconds of at most 10 digits")
	}
	return nil
}
