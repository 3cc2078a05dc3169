package edge

import (
	"io"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/lane"
)

// refusals writes errors in the form that the protocol of a request has for them.
var refusals = connecthttp.NewErrorWriter()

// refuse answers a request with an error without looking at its body. Over gRPC that is
// a Trailers-Only response, as the specification of gRPC over HTTP/2 calls it: one HEADERS
// frame that ends the stream and has the status. connecthttp sends a header with a length
// and a trailer after it, of which some proxies and clients see the header only.
func refuse(w http.ResponseWriter, r *http.Request, failure *connect.Error) {
	contentType := r.Header.Get("Content-Type")
	if r.Method == http.MethodPost && lane.IsNativeGRPC(contentType) {
		w = &trailersOnly{w, contentType}
		r = &http.Request{Method: r.Method, Header: http.Header{"Content-Type": {lane.GRPCWeb}}}
	}
	answerEarly(w, r, func() { _ = refusals.Write(&errorLine{ResponseWriter: w}, r, failure) }) // An error here is a connection that is gone.
}

// refusePlainly answers a request that is no call.
func refusePlainly(w http.ResponseWriter, r *http.Request, text string, code int) {
	answerEarly(w, r, func() { http.Error(w, text, code) })
}

// What a peer may still send of a request that is answered early, and for how long: net/http
// takes as much over HTTP/1.1.
const (
	earlyBodyBytes = 256 << 10
	earlyBodyTime  = time.Second
)

// answerEarly answers a request without looking at its body. Over HTTP/2 the peer may send
// the rest of it all the same: a stream that the server ends before is reset, and curl 7.88
// then takes the answer for broken. It also stops in the middle of a body when it sees the
// answer, so that of a small one comes later. Clients of gRPC do not mind, and want their
// answer in one frame.
func answerEarly(w http.ResponseWriter, r *http.Request, answer func()) {
	patient := r.ProtoMajor > 1 && r.ContentLength != 0 && !lane.IsNativeGRPC(r.Header.Get("Content-Type"))
	small := r.ContentLength > 0 && r.ContentLength <= earlyBodyBytes
	if patient && small {
		letFinish(w, r)
	}
	answer()
	if patient && !small && http.NewResponseController(w).Flush() == nil {
		letFinish(w, r)
	}
}

// letFinish takes the rest of a request, which nobody looks at.
func letFinish(w http.ResponseWriter, r *http.Request) {
	if http.NewResponseController(w).SetReadDeadline(time.Now().Add(earlyBodyTime)) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, earlyBodyBytes) // Whatever it is, it is refused.
	}
}

// trailersOnly makes a response of gRPC of one of gRPC-Web, which has its trailer in the
// header where there is nothing else.
type trailersOnly struct {
	http.ResponseWriter
	contentType string
}

func (t *trailersOnly) WriteHeader(status int) {
	header := t.Header()
	header.Set("Content-Type", t.contentType)
	header["Content-Length"] = nil // Else net/http adds one.
	t.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *trailersOnly) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Refusals counts the requests that are refused before they are calls, by kind. Those that are
// refused for their host or their credentials have counts of their own.
type Refusals struct{ headersTooLarge, header, protocol, path prometheus.Counter }

// NewRefusals adds the count to a registry.
func NewRefusals(registry *prometheus.Registry) *Refusals {
	counts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "userd_requests_refused_total",
		Help: "Requests refused before they were calls: for a header that is too large or not valid, what no protocol has, a path that is not there.",
	}, []string{"kind"})
	registry.MustRegister(counts)
	return &Refusals{
		headersTooLarge: counts.WithLabelValues("headers_too_large"), header: counts.WithLabelValues("header"),
		protocol: counts.WithLabelValues("protocol"), path: counts.WithLabelValues("path"),
	}
}

// LargeHeaders answers requests whose header is too large.
func (c *Refusals) LargeHeaders(w http.ResponseWriter, r *http.Request) {
	c.headersTooLarge.Inc()
	refuseAs(w, r, http.StatusRequestHeaderFieldsTooLarge, failure.HeadersTooLarge)
}

// refuseAs answers a request that is no call with a status of HTTP, and a call as its
// protocol has it.
func refuseAs(w http.ResponseWriter, r *http.Request, code int, why failure.Status) {
	if r.Method != http.MethodPost || !refusals.IsSupported(r) {
		refusePlainly(w, r, why.Message(), code)
		return
	}
	refuse(withStatus{w, code}, r, failure.New(why))
}

// withStatus is a response with this status, where the status says what went wrong.
type withStatus struct {
	http.ResponseWriter
	status int
}

func (s withStatus) WriteHeader(status int) {
	if status != http.StatusOK {
		status = s.status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (s withStatus) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// UnknownPaths answers requests for what is not there: calls of gRPC as gRPC has it.
func (c *Refusals) UnknownPaths(w http.ResponseWriter, r *http.Request) {
	c.path.Inc()
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		http.Error(w, "there is nothing here: calls go to /user.v1.UserService/ and the name of an RPC, as /openapi.yaml describes", http.StatusNotFound)
		return
	}
	refuse(w, r, failure.UnknownCall(r.URL.Path))
}
