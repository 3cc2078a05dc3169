package edge

import (
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

// headerCheck looks at the header of a request.
type headerCheck struct {
	procedures   map[string]bool // By path: those whose errors have reasons.
	compressions map[string]bool // By name; "" is none.
	next         http.Handler
}

// RefuseBadHeaders refuses what Connect would refuse before any interceptor runs, so that
// these errors too have a reason and name what is at fault.
func RefuseBadHeaders(rpc *connect.Server, compressors []connect.Compressor) Middleware {
	procedures := make(map[string]bool)
	for spec := range rpc.Specs() {
		procedures[spec.Procedure] = failure.HasReasons(spec.Procedure)
	}
	compressions := map[string]bool{"": true, connect.CompressionNameIdentity: true}
	for _, compressor := range compressors {
		compressions[compressor.Name()] = true
	}
	return func(next http.Handler) http.Handler { return &headerCheck{procedures, compressions, next} }
}

func (c *headerCheck) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.procedures[r.URL.Path] {
		c.next.ServeHTTP(w, r)
		return
	}
	fault := c.fault(r)
	if fault == nil {
		c.next.ServeHTTP(w, r)
		return
	}
	// With another version the writer would not know the protocol of the request.
	r.Header.Del(protocolVersionHeader)
	refuse(w, r, fault)
}

// fault is what is wrong with the parts of a request that are not its message.
func (c *headerCheck) fault(r *http.Request) *connect.Error {
	for _, header := range compressionHeaders {
		if !c.compressions[r.Header.Get(header)] {
			return failure.New(failure.UnknownCompression)
		}
	}
	if r.Method == http.MethodGet {
		return c.queryFault(r)
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
func (c *headerCheck) queryFault(r *http.Request) *connect.Error {
	query := r.URL.Query()
	switch {
	case !c.compressions[query.Get("compression")]:
		return failure.New(failure.UnknownCompression)
	case query.Has("connect") && query.Get("connect") != "v1":
		return failure.MalformedField("connect", `must be "v1"`)
	case query.Has("encoding") && !query.Has("message"):
		return failure.MalformedField("message", "must be there: it is the request")
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
