package server

import (
	"net/http"
	"strconv"
	"strings"

	"connectrpc.com/connect/v2"
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

// refuseBadHeaders refuses what Connect would refuse before any interceptor runs, so that
// these errors too have a reason and name what is at fault.
func refuseBadHeaders(rpc *connect.Server, compressors []connect.Compressor, next http.Handler) http.Handler {
	c := &headerCheck{
		procedures:   make(map[string]bool),
		compressions: map[string]bool{"": true, connect.CompressionNameIdentity: true},
		next:         next,
	}
	for spec := range rpc.Specs() {
		c.procedures[spec.Procedure] = hasReasons(spec.Procedure)
	}
	for _, compressor := range compressors {
		c.compressions[compressor.Name()] = true
	}
	return c
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
			return newError(unknownCompression)
		}
	}
	if r.Method == http.MethodGet {
		return c.queryFault(r)
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		if !validGRPCTimeout(r.Header.Get("Grpc-Timeout")) {
			return malformedField("Grpc-Timeout", "must be at most 8 digits and one of H, M, S, m, u, n")
		}
		return nil
	}
	if version := r.Header.Get(protocolVersionHeader); version != "" && version != "1" {
		return malformedField(protocolVersionHeader, `must be "1"`)
	}
	return connectTimeoutFault(r)
}

// queryFault is what is wrong with the query of a Connect GET.
func (c *headerCheck) queryFault(r *http.Request) *connect.Error {
	query := r.URL.Query()
	switch {
	case !c.compressions[query.Get("compression")]:
		return newError(unknownCompression)
	case query.Has("connect") && query.Get("connect") != "v1":
		return malformedField("connect", `must be "v1"`)
	case query.Has("encoding") && !query.Has("message"):
		return malformedField("message", "must be there: it is the request")
	}
	return connectTimeoutFault(r)
}

func connectTimeoutFault(r *http.Request) *connect.Error {
	const header, digits = "Connect-Timeout-Ms", 10
	if value := r.Header.Get(header); value != "" && !validNumber(value, digits) {
		return malformedField(header, "must be a number of milliseconds of at most 10 digits")
	}
	return nil
}

// validGRPCTimeout follows the grammar of gRPC over HTTP/2; "" is no timeout.
func validGRPCTimeout(value string) bool {
	if value == "" {
		return true
	}
	const digits = 8
	last := len(value) - 1
	return strings.IndexByte("HMSmun", value[last]) >= 0 && validNumber(value[:last], digits)
}

func validNumber(text string, digits int) bool {
	_, err := strconv.ParseUint(text, 10, 64)
	return err == nil && len(text) <= digits
}
