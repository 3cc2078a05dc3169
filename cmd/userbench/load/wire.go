package load

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
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
	Protocol    Protocol
	Codec       Codec
	Get         bool   // Connect GET instead of POST.
	Compression string // That the response may have: "", "gzip" or "zstd".
}

// isGRPC reports whether messages have a prefix, and the response a status of gRPC.
func (w *Wire) isGRPC() bool { return w.Protocol == GRPC || w.Protocol == GRPCWeb }

func (w *Wire) String() string {
	name := string(w.Protocol) + ", "
	if w.Get {
		name += "GET, "
	}
	name += string(w.Codec)
	if w.Compression != "" {
		name += ", " + w.Compression
	}
	return name
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
func (w *Wire) fields() [][2]string {
	var fields [][2]string
	accept := "accept-encoding"
	switch {
	case w.Protocol == GRPC:
		fields = [][2]string{{"content-type", "application/grpc+" + string(w.Codec)}, {"te", "trailers"}}
		accept = "grpc-accept-encoding"
	case w.Protocol == GRPCWeb:
		fields = [][2]string{{"content-type", "application/grpc-web+" + string(w.Codec)}, {"x-grpc-web", "1"}}
		accept = "grpc-accept-encoding"
	case !w.Get:
		fields = [][2]string{{"content-type", "application/" + string(w.Codec)}, {"connect-protocol-version", "1"}}
	}
	if w.Compression != "" {
		fields = append(fields, [2]string{accept, w.Compression})
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
	var b strings.Builder
	b.WriteString(service)
	b.WriteString(method)
	b.WriteString("?connect=v1&encoding=")
	b.WriteString(string(w.Codec))
	b.WriteString("&base64=1&message=")
	b.WriteString(base64.RawURLEncoding.EncodeToString(message))
	return b.String()
}

var (
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	zstdReaders = sync.Pool{New: func() any {
		reader, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)) // These options are valid.
		return reader
	}}
)

// decompress appends what packed holds.
func decompress(dst []byte, encoding string, packed []byte) ([]byte, error) {
	switch encoding {
	case "gzip":
		reader := gzipReaders.Get().(*gzip.Reader)
		defer gzipReaders.Put(reader)
		if err := reader.Reset(bytes.NewReader(packed)); err != nil {
			return nil, err
		}
		buffer := bytes.NewBuffer(dst)
		_, err := io.Copy(buffer, reader)
		return buffer.Bytes(), err
	case "zstd":
		reader := zstdReaders.Get().(*zstd.Decoder)
		defer zstdReaders.Put(reader)
		return reader.DecodeAll(packed, dst)
	}
	return nil, fmt.Errorf("a response compressed with %q", encoding)
}
