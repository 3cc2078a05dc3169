package lane

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// The envelope of messages, as gRPC, gRPC-Web and the streams of Connect have it: flags,
// and the length of the message in four bytes.
const (
	EnvelopeSize   = 5
	FlagCompressed = 0x01
	FlagEnd        = 0x02 // Connect: the message ends its stream.
	FlagTrailer    = 0x80 // gRPC-Web: the message is the trailer.
)

var timeoutUnits = map[byte]time.Duration{
	'n': time.Nanosecond, 'u': time.Microsecond, 'm': time.Millisecond,
	'S': time.Second, 'M': time.Minute, 'H': time.Hour,
}

// ParseGRPCTimeout parses a grpc-timeout, as gRPC over HTTP/2 has it: up to eight digits and
// a unit. One that is longer than a time.Duration is none, and so is "".
func ParseGRPCTimeout(value string) (timeout time.Duration, has, ok bool) {
	const longest = 9
	if value == "" {
		return 0, false, true
	}
	unit, known := timeoutUnits[value[len(value)-1]]
	n, err := strconv.ParseUint(value[:len(value)-1], 10, 63)
	if !known || err != nil || len(value) > longest {
		return 0, false, false
	}
	timeout = time.Duration(n) * unit
	if timeout/unit != time.Duration(n) {
		return 0, false, true
	}
	return timeout, true, true
}

// ParseConnectTimeout parses a connect-timeout-ms: up to ten digits. "" is none.
func ParseConnectTimeout(value string) (timeout time.Duration, has, ok bool) {
	const longest = 10
	if value == "" {
		return 0, false, true
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || len(value) > longest {
		return 0, false, false
	}
	return time.Duration(n) * time.Millisecond, true, true
}

// WithBody is a copy of r that has another body, which is closed with that of r. The
// request of the server itself has to keep the body that it came with: by its type
// net/http knows, when the handler has returned, whether the body was read to a clean
// end. If it was not, the connection must be closed, since what follows on it could be
// anything.
func WithBody(r *http.Request, body io.Reader) *http.Request {
	changed := *r
	changed.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	return &changed
}
