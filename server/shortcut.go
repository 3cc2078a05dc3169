package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

const (
	// shortcutBytes is more than a request for one user by its id has.
	shortcutBytes = 128
	// shortcutUser is the size of an encoded user up to which no answer with it is
	// worth compressing: JSON is not four times as long.
	shortcutUser = compressMinBytes / 4

	envelopeSize = 5
	grpcPrefix   = "Grpc-" // Of the trailers with which gRPC tells an error.
)

// shortcut answers calls of GetUser whose user is at hand, past connecthttp, whose
// general way costs more than all the rest of such a call. The call passes the same
// interceptors, and its answer is the same to the byte. Everything else is for next.
type shortcut struct {
	rpc         *connect.Server
	spec        connect.Spec
	near        nearReader
	formats     map[string]*shortcutFormat // By content type.
	compressors []string
	accepts     []string // They, as a field of a response.
	refusal     *connecthttp.ErrorWriter
	next        http.Handler
}

// shortcutFormat is how the messages of a content type look.
type shortcutFormat struct {
	codec    connect.Codec
	protocol string
	grpc     bool
	field    []string // The content type, as a field of a response.
}

func newShortcut(rpc *connect.Server, near nearReader, compressors []connect.Compressor, next http.Handler) *shortcut {
	s := &shortcut{rpc: rpc, near: near, refusal: connecthttp.NewErrorWriter(), next: next}
	for spec := range rpc.Specs() {
		if spec.Procedure == userv1connect.UserServiceGetUserProcedure {
			s.spec = spec
		}
	}
	for _, compressor := range compressors {
		s.compressors = append(s.compressors, compressor.Name())
	}
	s.accepts = field(strings.Join(s.compressors, ","))
	s.formats = make(map[string]*shortcutFormat)
	for _, codec := range codecs() {
		s.add("application/"+codec.Name(), codec, connect.ProtocolNameConnect)
		s.add("application/grpc+"+codec.Name(), codec, connect.ProtocolNameGRPC)
		if codec.Name() == connect.CodecNameProto {
			s.add("application/grpc", codec, connect.ProtocolNameGRPC)
		}
	}
	return s
}

func (s *shortcut) add(contentType string, codec connect.Codec, protocol string) {
	s.formats[contentType] = &shortcutFormat{codec, protocol, protocol == connect.ProtocolNameGRPC, field(contentType)}
}

// field is the value of a field that many responses share: appending to it copies it.
func field(value string) []string { return []string{value}[:1:1] }

func (s *shortcut) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.open(r)
	if c == nil {
		s.next.ServeHTTP(w, r)
		return
	}
	if !c.read(r.Body) || !c.find() {
		c.putBack(r)
		s.next.ServeHTTP(w, r)
		return
	}
	c.describe(r)
	c.out = shortcutBuffers.Get().(*bytes.Buffer)
	err := s.rpc.Call(context.WithValue(r.Context(), nearUserKey{}, &c.user), s.spec.Procedure, &c.info, c)
	if c.respond(w, r, err) == nil { // After a failure net/http may still be reading it.
		c.out.Reset()
		shortcutBuffers.Put(c.out)
	}
}

var shortcutBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// shortCall is a call of GetUser, and the connect.ServerStream of its handler.
type shortCall struct {
	*shortcut
	format *shortcutFormat
	info   connect.CallInfo
	sent   string // The compression that a large answer would have.

	body     [shortcutBytes]byte
	size     int   // How much of the body was read.
	err      error // Why not more.
	message  []byte
	request  userv1.GetUserRequest
	user     nearUser
	received bool
	out      *bytes.Buffer // The answer, or empty.
}

// open returns a call if the header of a request is that of a plain one.
func (s *shortcut) open(r *http.Request) *shortCall {
	if r.URL.Path != s.spec.Procedure || r.Method != http.MethodPost || r.ContentLength > shortcutBytes {
		return nil
	}
	format := s.formats[only(r.Header, "Content-Type")]
	if format == nil || len(r.Header["Cache-Control"]) > 0 {
		return nil
	}
	for _, header := range compressionHeaders {
		if len(r.Header[header]) > 0 {
			return nil
		}
	}
	accepts := "Accept-Encoding"
	if format.grpc {
		accepts = "Grpc-Accept-Encoding"
		if r.ProtoMajor < 2 || !validGRPCTimeout(only(r.Header, "Grpc-Timeout")) {
			return nil
		}
	} else {
		version := only(r.Header, protocolVersionHeader)
		if r.ContentLength < 0 || version != "" && version != "1" || connectTimeoutFault(r) != nil {
			return nil
		}
	}
	return &shortCall{shortcut: s, format: format, sent: s.compression(only(r.Header, accepts))}
}

// only is the first value of a field, by its canonical name.
func only(header http.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// compression is the first that is accepted of those that the server has.
func (s *shortcut) compression(accepts string) string {
	for name := range strings.FieldsFuncSeq(accepts, func(r rune) bool { return r == ',' || r == ' ' }) {
		for _, known := range s.compressors {
			if name == known {
				return known
			}
		}
	}
	return connect.CompressionNameIdentity
}

// read reads the message, and reports whether it is a plain one that came whole.
func (c *shortCall) read(body io.Reader) bool {
	for c.size < len(c.body) && c.err == nil {
		var n int
		n, c.err = body.Read(c.body[c.size:])
		c.size += n
	}
	c.message = c.body[:c.size]
	if c.err != io.EOF {
		return false
	}
	if !c.format.grpc {
		return true
	}
	if c.size < envelopeSize || c.body[0] != 0 {
		return false
	}
	c.message = c.message[envelopeSize:]
	return binary.BigEndian.Uint32(c.body[1:]) == uint32(len(c.message))
}

// find looks for the user that is asked for.
func (c *shortCall) find() bool {
	decode := decodeJSON
	if c.format.codec.Name() == connect.CodecNameProto {
		decode = decodeProto
	}
	if !decode(c.message, &c.request) {
		return false
	}
	c.user.id, c.user.minVersion = canonicalID(c.request.GetUserId()), c.request.GetMinVersion()
	var ok bool
	c.user.entry, ok = c.near.Cached(c.user.id, cache.Read{MinVersion: c.user.minVersion})
	return ok && (c.sent == connect.CompressionNameIdentity || len(c.user.entry.Data) <= shortcutUser)
}

// putBack gives a request the body that it had before a part was read.
func (c *shortCall) putBack(r *http.Request) {
	body := r.Body
	rest := io.Reader(body)
	if c.err != nil {
		rest = failedReader{c.err}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(c.body[:c.size]), rest), body}
}

// failedReader is the rest of a body that has failed or ended.
type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error) { return 0, r.err }

// describe fills the CallInfo. There is no deadline, which could not pass before the
// answer.
func (c *shortCall) describe(r *http.Request) {
	c.info.Spec = c.spec
	c.info.PeerAddr = r.RemoteAddr
	c.info.Protocol = c.format.protocol
	c.info.Codec = c.format.codec.Name()
	c.info.RequestEncoding, c.info.ResponseEncoding = connect.CompressionNameIdentity, c.sent
	header := c.info.RequestHeader()
	for key, values := range r.Header {
		header.SetValues(key, values)
	}
	header.Set("Host", r.Host)
}

// Receive returns the message.
func (c *shortCall) Receive(msg any) error {
	if c.received {
		return io.EOF
	}
	c.received = true
	request, ok := msg.(*userv1.GetUserRequest)
	if !ok {
		return connect.Errorf(connect.CodeInternal, "a request of GetUser is no %T", msg)
	}
	request.Reset()
	request.UserId, request.MinVersion = c.request.GetUserId(), c.request.GetMinVersion()
	c.info.ReceiveStats = connect.MessageStats{Size: len(c.message)}
	return nil
}

// SendHeaders does nothing: the header goes out with the message.
func (c *shortCall) SendHeaders() error { return nil }

// Send encodes the answer.
func (c *shortCall) Send(msg any) error {
	prefix := 0
	if c.format.grpc {
		prefix = envelopeSize
		c.out.Write(make([]byte, envelopeSize))
	}
	if err := c.format.codec.MarshalWrite(context.Background(), c.out, msg); err != nil {
		c.out.Reset()
		return connect.Errorf(connect.CodeInternal, "marshal message: %s", err).WithCause(err)
	}
	size := c.out.Len() - prefix
	if c.format.grpc {
		binary.BigEndian.PutUint32(c.out.Bytes()[1:], uint32(size))
	}
	c.info.SendStats = connect.MessageStats{Size: size}
	return nil
}

// respond sends the answer, or the failure of the call.
func (c *shortCall) respond(w http.ResponseWriter, r *http.Request, failure error) error {
	header := w.Header()
	if !c.format.grpc {
		header["Accept-Encoding"] = c.accepts
		if failure != nil {
			return c.refusal.Write(w, r, failure)
		}
		header["Content-Type"] = c.format.field
		_, err := w.Write(c.out.Bytes())
		return err
	}
	header["Content-Type"], header["Grpc-Accept-Encoding"] = c.format.field, c.accepts
	if c.sent != connect.CompressionNameIdentity {
		header["Grpc-Encoding"] = field(c.sent)
	}
	if c.out.Len() > 0 {
		if _, err := w.Write(c.out.Bytes()); err != nil {
			return err
		}
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return err
	}
	if failure == nil {
		header[http.TrailerPrefix+"Grpc-Status"] = grpcOK
		return nil
	}
	refusal := headerWriter{make(http.Header)}
	err := c.refusal.Write(refusal, r, failure)
	for name, values := range refusal.header {
		if strings.HasPrefix(name, grpcPrefix) {
			header[http.TrailerPrefix+name] = values
		}
	}
	return err
}

var grpcOK = field("0")

// headerWriter takes the header of a response that has nothing else.
type headerWriter struct{ header http.Header }

func (w headerWriter) Header() http.Header { return w.header }

func (w headerWriter) WriteHeader(int) {}

func (w headerWriter) Write(p []byte) (int, error) { return len(p), nil }
