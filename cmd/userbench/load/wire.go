package load

import (
	"encoding/base64"
	"fmt"
	"time"

	"golang.org/x/net/http2/hpack"
)

// service is what the paths of all procedures start with.
const service = "/user.v1.UserService/"

// Protocol is a way to call.
type Protocol string

// The protocols.
const (
	GRPC         Protocol = "gRPC"
	GRPCWeb      Protocol = "gRPC-Web, HTTP/2"
	Connect      Protocol = "Connect, HTTP/2"
	ConnectHTTP1 Protocol = "Connect, HTTP/1.1"
)

// Wire says how calls are put on the wire.
type Wire struct {
	Protocol Protocol
	Codec    Codec
	Get      bool // Connect GET instead of POST.
	// NoCache asks for answers of the store itself.
	NoCache bool
	// Deadline is how long a call over gRPC may take. An answer that comes later is
	// none. Default: as long as it likes.
	Deadline time.Duration
	// Token is what callers are known by. Default: they have none.
	Token string
}

// isGRPC reports whether messages have a prefix, and the response a status of gRPC.
func (w *Wire) isGRPC() bool { return w.Protocol == GRPC || w.Protocol == GRPCWeb }

func (w *Wire) String() string {
	name := string(w.Protocol) + ", "
	if w.Get {
		name += "GET, "
	}
	return name + string(w.Codec)
}

// header is the headers of one procedure's requests over HTTP/2.
type header struct {
	fields []hpack.HeaderField
}

// header returns the headers of a procedure. The authority is filled in by the
// connection.
func (w *Wire) header(method string) *header {
	verb := "POST"
	if w.Get {
		verb = "GET"
	}
	fields := []hpack.HeaderField{
		{Name: ":method", Value: verb},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: service + method},
		{Name: ":authority"},
	}
	for _, field := range w.fields() {
		fields = append(fields, hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return &header{fields: fields}
}

// fields are the request headers of a protocol.
func (w *Wire) fields() (fields [][2]string) {
	if w.NoCache {
		fields = append(fields, [2]string{"cache-control", "no-cache"})
	}
	if w.Token != "" {
		fields = append(fields, [2]string{"authorization", "Bearer " + w.Token})
	}
	if w.Deadline > 0 {
		fields = append(fields, [2]string{"grpc-timeout", fmt.Sprintf("%dm", w.Deadline.Milliseconds())})
	}
	switch {
	case w.Protocol == GRPC:
		fields = append(fields, [2]string{"content-type", "application/grpc+" + string(w.Codec)}, [2]string{"te", "trailers"})
	case w.Protocol == GRPCWeb:
		fields = append(fields, [2]string{"content-type", "application/grpc-web+" + string(w.Codec)}, [2]string{"x-grpc-web", "1"})
	case !w.Get:
		fields = append(fields, [2]string{"content-type", "application/" + string(w.Codec)}, [2]string{"connect-protocol-version", "1"})
	}
	return fields
}

// body appends the body that carries a message.
func (w *Wire) body(dst, message []byte) []byte {
	if w.isGRPC() {
		dst = AppendPrefix(dst, len(message))
	}
	return append(dst, message...)
}

// AppendPrefix appends what stands before an uncompressed message of a stream.
func AppendPrefix(dst []byte, size int) []byte {
	return append(dst, 0, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// path is the target of a GET that carries a message.
func (w *Wire) path(method string, message []byte) string {
	return service + method + "?connect=v1&encoding=" + string(w.Codec) + "&base64=1&message=" + base64.RawURLEncoding.EncodeToString(message)
}
