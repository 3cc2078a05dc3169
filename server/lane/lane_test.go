package lane_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectgzip"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/example/userd/server/edge"
	"github.com/example/userd/server/h2"
	"github.com/example/userd/server/lane"
)

const (
	procedure = "/test.v1.TestService/Unary"
	// maxBytes is the largest message that the test service takes.
	maxBytes = 10_000
	// compressMinBytes is the size from which on its responses are compressed.
	compressMinBytes = 100
)

// behaviours are what the test service does with the text of a request that names one.
var behaviours = map[string]func(ctx context.Context, info *connect.CallInfo, stream connect.ServerStream) error{
	"info": func(_ context.Context, info *connect.CallInfo, stream connect.ServerStream) error {
		var lines []string
		for key, values := range info.RequestHeader().All() {
			if values[0] != "" { // connecthttp makes an empty content type for a GET.
				lines = append(lines, fmt.Sprintf("%s: %v", key, values))
			}
		}
		slices.Sort(lines)
		get := false
		if via, ok := info.TransportInfo.(interface{ HTTPMethod() string }); ok {
			get = via.HTTPMethod() == http.MethodGet
		}
		lines = append(lines, info.Protocol, info.Codec, info.RequestEncoding, info.ResponseEncoding,
			info.Spec.Procedure, fmt.Sprint(info.PeerAddr != "", get, info.ReceiveStats))
		return stream.Send(wrapperspb.String(strings.Join(lines, "\n")))
	},
	"large": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return stream.Send(wrapperspb.String(strings.Repeat("large", maxBytes)))
	},
	"metadata": func(_ context.Context, info *connect.CallInfo, stream connect.ServerStream) error {
		setMetadata(info)
		err := stream.Send(wrapperspb.String("metadata"))
		info.ResponseHeader().Set("X-Late", "header")
		info.ResponseTrailer().Set("X-Late", "trailer")
		return err
	},
	"metadata and an error": func(_ context.Context, info *connect.CallInfo, _ connect.ServerStream) error {
		setMetadata(info)
		return connect.NewError(connect.CodeNotFound, "nothing")
	},
	"metadata without a message": func(_ context.Context, info *connect.CallInfo, _ connect.ServerStream) error {
		setMetadata(info)
		return nil
	},
	"trailer and an error": func(_ context.Context, info *connect.CallInfo, _ connect.ServerStream) error {
		info.ResponseTrailer().Set("X-Trailer", "one")
		return connect.NewError(connect.CodeNotFound, "nothing")
	},
	"nothing": func(context.Context, *connect.CallInfo, connect.ServerStream) error { return nil },
	"send headers": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return stream.SendHeaders()
	},
	"send what has no codec": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return stream.Send("a string")
	},
	"receive twice": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return connect.NewError(connect.CodeAborted, fmt.Sprint(stream.Receive(new(wrapperspb.StringValue))))
	},
	"error": func(context.Context, *connect.CallInfo, connect.ServerStream) error {
		return connect.NewError(connect.CodeNotFound, "Ünïcode, 100 % \t\n\x7f")
	},
	"error after a message": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return errors.Join(stream.Send(wrapperspb.String("sent")), connect.NewError(connect.CodeDataLoss, "lost"))
	},
	"error with details": func(context.Context, *connect.CallInfo, connect.ServerStream) error {
		return fmt.Errorf("wrapped: %w", withDetails("domain"))
	},
	"large error": func(context.Context, *connect.CallInfo, connect.ServerStream) error {
		return withDetails(strings.Repeat("domain", compressMinBytes))
	},
	"large error after a message": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return errors.Join(stream.Send(wrapperspb.String("sent")), withDetails(strings.Repeat("domain", compressMinBytes)))
	},
	"error without text": func(context.Context, *connect.CallInfo, connect.ServerStream) error {
		return connect.NewError(0, "")
	},
	"not modified": func(_ context.Context, info *connect.CallInfo, _ connect.ServerStream) error {
		info.ResponseHeader().Set("Etag", `"1"`)
		info.ResponseHeader().Add("Vary", "Authorization")
		return connecthttp.NewNotModifiedError()
	},
	"secret error": func(context.Context, *connect.CallInfo, connect.ServerStream) error { return errors.New("secret") },
	"remote error": func(context.Context, *connect.CallInfo, connect.ServerStream) error {
		return connect.NewError(connect.CodeNotFound, "remote").WithRemote()
	},
	"canceled": func(context.Context, *connect.CallInfo, connect.ServerStream) error { return context.Canceled },
	"deadline": func(context.Context, *connect.CallInfo, connect.ServerStream) error {
		return fmt.Errorf("wrapped: %w", os.ErrDeadlineExceeded)
	},
	"wait": func(ctx context.Context, _ *connect.CallInfo, _ connect.ServerStream) error {
		if _, ok := ctx.Deadline(); !ok {
			return connect.NewError(connect.CodeInternal, "no deadline")
		}
		<-ctx.Done()
		return ctx.Err()
	},
}

func setMetadata(info *connect.CallInfo) {
	info.ResponseHeader().Set("X-Ascii", "one")
	info.ResponseHeader().Add("X-Ascii", "two")
	info.ResponseHeader().Set("X-Blob-Bin", connect.EncodeBinaryHeader([]byte{0, 1, 2}))
	info.ResponseHeader().Set("Content-Type", "text/plain")
	info.ResponseHeader().Set("Grpc-Status", "7")
	info.ResponseTrailer().Set("X-Trailer", "three")
	info.ResponseTrailer().Set("X-Blob-Bin", connect.EncodeBinaryHeader([]byte{3}))
	info.ResponseTrailer().Set("Grpc-Message", "no")
}

func withDetails(domain string) error {
	failure := connect.NewError(connect.CodeInvalidArgument, "bad")
	for _, message := range []proto.Message{
		&errdetails.ErrorInfo{Reason: "REASON", Domain: domain},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "f", Description: "d"}}},
	} {
		detail, err := connectproto.NewErrorDetail(message)
		if err != nil {
			return err
		}
		failure = failure.WithDetail(detail)
	}
	return failure
}

// testService echoes what it knows nothing better about.
func testService() *connect.Server {
	rpc := connect.NewServer()
	rpc.Register(connect.Method{
		Spec: connect.Spec{Procedure: procedure, IdempotencyLevel: connect.IdempotencyNoSideEffects},
		Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
			request := new(wrapperspb.StringValue)
			if err := stream.Receive(request); err != nil {
				return err
			}
			if do, ok := behaviours[request.GetValue()]; ok {
				info, _ := connect.CallInfoForServerContext(ctx)
				return do(ctx, info, stream)
			}
			return stream.Send(request)
		},
	})
	return rpc
}

// transport is what serves HTTP.
type transport string

const (
	http1  transport = "HTTP/1.1"
	std    transport = "HTTP/2 of net/http"
	engine transport = "HTTP/2 of the engine"
)

// servers are connecthttp, and the lane before a handler that only counts what it gets.
type servers struct {
	general, fast string // URLs.
	left          *int   // Calls that the lane has left to the general way.
}

func startServers(t *testing.T, on transport, ready bool) servers {
	t.Helper()
	rpc := testService()
	compressors := []connect.Compressor{connectgzip.New()}
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc, connecthttp.WithCompressors(compressors...),
		connecthttp.WithCompressMinBytes(compressMinBytes), connecthttp.WithReadMaxBytes(maxBytes))
	config := lane.Config{
		Server: rpc, Codecs: []connect.Codec{connectproto.NewBinaryCodec(), connectproto.NewJSONCodec()},
		Compressors: compressors, CompressMinBytes: compressMinBytes, ReadMaxBytes: maxBytes,
	}
	if ready {
		config.Ready = func(ctx context.Context, _ *connect.CallInfo, message []byte) (context.Context, lane.Request, bool) {
			return ctx, nil, !bytes.Contains(message, []byte("wait"))
		}
	}
	s := servers{left: new(int)}
	general := edge.FinishErrors(nil)(mux)
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*s.left++
		general.ServeHTTP(w, r)
	})
	fast := lane.New(config)
	if on == engine {
		s.general, s.fast = startEngine(t, h2.Config{Handler: general}), startEngine(t, h2.Config{Handler: next, Direct: fast})
	} else {
		s.general, s.fast = start(t, general), start(t, fast.Handler(next))
	}
	return s
}

// start serves with net/http, and returns the URL.
func start(t *testing.T, handler http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

// startEngine serves with the engine.
func startEngine(t *testing.T, config h2.Config) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := h2.New(config)
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go srv.ServeConn(conn)
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-serving
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

// client speaks one version of HTTP.
func client(http2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	return &http.Client{Transport: &http.Transport{Protocols: protocols, DisableCompression: true}}
}

// request is one request, as good or bad as it may be.
type request struct {
	name   string
	method string
	query  string
	header http.Header
	body   []byte
	left   bool // The lane leaves it to the general way.
}

// answered is all that comes back.
type answered struct {
	Status  string
	Header  http.Header
	Body    string
	Trailer http.Header
	Err     string
}

// send sends it on a connection of its own.
func (r request) send(t *testing.T, http2 bool, base string) answered {
	t.Helper()
	c := client(http2)
	defer c.CloseIdleConnections()
	return r.sendBy(t, c, base)
}

func (r request) sendBy(t *testing.T, c *http.Client, base string) answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, base+procedure+r.query, bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "test.example.com"
	maps.Copy(req.Header, r.header)
	resp, err := c.Do(req)
	if err != nil {
		return answered{Err: err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	if vary := resp.Header["Vary"]; len(vary) > 0 { // connecthttp names it twice where Send has failed.
		resp.Header["Vary"] = slices.Compact(vary)
	}
	a := answered{Status: resp.Status, Header: resp.Header, Body: string(body), Trailer: resp.Trailer, Err: fmt.Sprint(err)}
	if length := resp.Header.Get("Content-Length"); length != "" && length != strconv.Itoa(len(body)) {
		t.Errorf("%s: a length of %s, but %d bytes", r.name, length, len(body))
	}
	resp.Header.Del("Content-Length") // connecthttp does not always know it when it begins.
	if contentType := r.header.Get("Content-Type"); len(body) == 0 && isNative(contentType) {
		a.unify()
	}
	return a
}

// isNative reports whether a content type is of gRPC itself.
func isNative(contentType string) bool {
	return strings.HasPrefix(contentType, "application/grpc") && !strings.HasPrefix(contentType, "application/grpc-web")
}

// unify makes one of header and trailer, where gRPC may put a status into either.
func (a *answered) unify() {
	a.Header.Del("Trailer")
	maps.Copy(a.Header, a.Trailer)
	a.Trailer = nil
}

func envelope(flags byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message))), message...)
}

func zipped(message []byte) []byte {
	var b bytes.Buffer
	w, _ := connectgzip.New().Compress(&b)
	_, _ = w.Write(message)
	_ = w.Close()
	return b.Bytes()
}

// form is a protocol with a codec.
type form struct {
	contentType string
	json        bool
	enveloped   bool
}

var forms = []form{
	{"application/grpc", false, true},
	{"application/grpc+proto", false, true},
	{"application/grpc+json", true, true},
	{"application/grpc-web", false, true},
	{"application/grpc-web+proto", false, true},
	{"application/grpc-web+json", true, true},
	{"application/proto", false, false},
	{"application/json", true, false},
}

func (f form) message(text string) []byte {
	if f.json {
		return fmt.Appendf(nil, "%q", text)
	}
	b, err := proto.Marshal(wrapperspb.String(text))
	if err != nil {
		panic(err)
	}
	return b
}

// with is a header of the form, and more fields.
func (f form) with(fields ...string) http.Header {
	h := http.Header{"Content-Type": {f.contentType}}
	for i := 0; i < len(fields); i += 2 {
		h.Set(fields[i], fields[i+1])
	}
	return h
}

func (f form) plain(text string) []byte {
	if f.enveloped {
		return envelope(0, f.message(text))
	}
	return f.message(text)
}

func (f form) packed(text string) []byte {
	if f.enveloped {
		return envelope(1, zipped(f.message(text)))
	}
	return zipped(f.message(text))
}

// fields are the names of the protocol's own fields.
func (f form) fields() (encoding, accepts, timeout, fifty string) {
	if f.enveloped {
		return "Grpc-Encoding", "Grpc-Accept-Encoding", "Grpc-Timeout", "50m"
	}
	return "Content-Encoding", "Accept-Encoding", "Connect-Timeout-Ms", "50"
}

func (f form) requests() []request {
	encoding, accepts, timeout, fifty := f.fields()
	long := strings.Repeat("long", compressMinBytes)
	all := []request{
		{name: "echo", header: f.with(), body: f.plain("hello")},
		{name: "broken message", header: f.with(), body: f.broken()},
		{name: "too large", header: f.with(), body: f.plain(strings.Repeat("x", maxBytes)), left: true},
		{name: "beyond what is looked at", header: f.with(), body: f.plain(strings.Repeat("x", 20_000)), left: true},
		{name: "as large as can be", header: f.with(), body: f.plain(strings.Repeat("x", maxBytes-4))},
		{name: "compressed", header: f.with(encoding, "gzip"), body: f.packed(long)},
		{name: "compressed, answer too small to be", header: f.with(encoding, "gzip"), body: f.packed("hello")},
		{name: "broken compression", header: f.with(encoding, "gzip"), body: f.cut(f.packed("hello")), left: true},
		{name: "bomb", header: f.with(encoding, "gzip"), body: f.packed(strings.Repeat("x", maxBytes)), left: true},
		{name: "identity", header: f.with(encoding, "identity"), body: f.plain("hello")},
		{name: "accepts gzip", header: f.with(accepts, "br, gzip,identity"), body: f.plain("info")},
		{name: "accepts nothing known", header: f.with(accepts, "br"), body: f.plain("info")},
		{name: "gets gzip", header: f.with(accepts, "gzip"), body: f.plain(long)},
		{name: "error with gzip", header: f.with(accepts, "gzip"), body: f.plain("large error")},
		{name: "error after a message with gzip", header: f.with(accepts, "gzip"), body: f.plain("large error after a message")},
		{name: "unknown compression", header: f.with(encoding, "br"), body: f.plain("hello"), left: true},
		{name: "charset", header: http.Header{"Content-Type": {f.contentType + "; charset=utf-8"}}, body: f.plain("hello"), left: true},
		{name: "timeout", header: f.with(timeout, fifty), body: f.plain("wait")},
		{name: "broken timeout", header: f.with(timeout, "1x"), body: f.plain("hello"), left: true},
		{name: "long timeout", header: f.with(timeout, "12345678901"), body: f.plain("hello"), left: true},
		{name: "negative timeout", header: f.with(timeout, "-1"), body: f.plain("hello"), left: true},
		{name: "request metadata", header: f.with("X-One", "1", "X-Blob-Bin", "AAEC", "Authorization", "Bearer x", "Cookie", "a=b"), body: f.plain("info")},
		{name: "query", query: "?a=b", header: f.with(), body: f.plain("hello"), left: true},
	}
	if f.enveloped {
		all = append(all, f.envelopes()...)
	} else {
		all = append(all,
			request{name: "empty body", header: f.with()},
			request{name: "version", header: f.with("Connect-Protocol-Version", "1"), body: f.plain("hello")},
			request{name: "unknown version", header: f.with("Connect-Protocol-Version", "2"), body: f.plain("hello"), left: true},
			request{name: "compressed nothing", header: f.with("Content-Encoding", "gzip")})
	}
	for _, text := range slices.Sorted(maps.Keys(behaviours)) {
		if text != "wait" {
			all = append(all, request{name: "handler: " + text, header: f.with(), body: f.plain(text)})
		}
	}
	for i := range all {
		all[i].method = http.MethodPost
	}
	return all
}

func (f form) broken() []byte {
	if f.enveloped {
		return envelope(0, []byte{0xff, 0xff})
	}
	return []byte{0xff, 0xff}
}

// cut is a body whose message ends too early, but whose framing is whole.
func (f form) cut(body []byte) []byte {
	if f.enveloped {
		return envelope(body[0], body[5:17])
	}
	return body[:12]
}

// envelopes are what can be wrong with a body of envelopes.
func (f form) envelopes() []request {
	one := f.plain("one")
	return []request{
		{name: "empty message", header: f.with(), body: envelope(0, nil)},
		{name: "no message", header: f.with(), left: true},
		{name: "two messages", header: f.with(), body: append(f.plain("one"), f.plain("two")...), left: true},
		{name: "second message cut", header: f.with(), body: append(f.plain("one"), 0, 0), left: true},
		{name: "prefix cut", header: f.with(), body: []byte{0, 0, 0}, left: true},
		{name: "message cut", header: f.with(), body: one[:7], left: true},
		{name: "compressed without saying", header: f.with(), body: f.packed("hello"), left: true},
		{name: "compressed empty message", header: f.with("Grpc-Encoding", "gzip"), body: envelope(1, nil)},
		{name: "compression said, not done", header: f.with("Grpc-Encoding", "gzip"), body: one},
		{name: "flags", header: f.with(), body: envelope(2, f.message("hello")), left: true},
		{name: "content-encoding", header: f.with("Content-Encoding", "gzip"), body: one, left: true},
		{name: "GET", method: http.MethodGet, header: f.with(), left: true},
	}
}

// gets are calls by Connect GET.
func gets() []request {
	encode := base64.RawURLEncoding.EncodeToString
	text := form{contentType: "application/json", json: true}
	binary := form{contentType: "application/proto"}
	long := strings.Repeat("long", compressMinBytes)
	query := func(pairs ...string) string {
		q := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			q.Set(pairs[i], pairs[i+1])
		}
		return "?" + q.Encode()
	}
	all := []request{
		{name: "JSON", query: query("connect", "v1", "encoding", "json", "message", string(text.message("info")))},
		{name: "JSON without a version", query: query("encoding", "json", "message", string(text.message("info")))},
		{name: "base64", query: query("connect", "v1", "encoding", "json", "base64", "1", "message", encode(text.message("info")))},
		{name: "padded", query: query("encoding", "proto", "base64", "1", "message", base64.URLEncoding.EncodeToString(binary.message("hello")))},
		{name: "proto", query: query("connect", "v1", "encoding", "proto", "base64", "1", "message", encode(binary.message("info")))},
		{name: "empty message", query: query("encoding", "proto", "message", "")},
		{name: "compressed", query: query("encoding", "proto", "base64", "1", "compression", "gzip", "message", encode(zipped(binary.message(long))))},
		{name: "gets gzip", header: http.Header{"Accept-Encoding": {"gzip"}}, query: query("encoding", "json", "message", string(text.message(long)))},
		{name: "broken base64", query: query("encoding", "proto", "base64", "1", "message", "a!"), left: true},
		{name: "no message", query: query("encoding", "json"), left: true},
		{name: "no encoding", query: query("message", `"hello"`), left: true},
		{name: "unknown encoding", query: query("encoding", "xml", "message", `"hello"`), left: true},
		{name: "unknown version", query: query("connect", "v2", "encoding", "json", "message", `"hello"`), left: true},
		{name: "no value of a version", query: query("connect", "", "encoding", "json", "message", `"hello"`), left: true},
		{name: "two messages", query: query("connect", "v1", "encoding", "json", "message", string(text.message("info"))) + "&message=none&encoding=xml&connect=v2", left: true},
		{name: "escapes", query: "?encoding=jso%6E&message=" + url.QueryEscape(string(text.message("info")))},
		{name: "escaped names", query: "?&%65ncoding=jso%6E&&x&message=" + url.QueryEscape(string(text.message("info"))) + "&", left: true},
		{name: "nothing of base64, then 1", query: query("connect", "v1", "encoding", "json", "base64", "", "message", string(text.message("info"))) + "&base64=1", left: true},
		{name: "message twice, first empty", query: query("connect", "v1", "encoding", "proto", "message", "") + "&message=x", left: true},
		{name: "broken escape", query: query("encoding", "json", "message", string(text.message("info"))) + "&x=%zz", left: true},
		{name: "semicolon", query: query("encoding", "json", "message", string(text.message("info"))) + "&a;b", left: true},
		{name: "timeout", header: http.Header{"Connect-Timeout-Ms": {"50"}}, query: query("encoding", "json", "message", string(text.message("wait")))},
	}
	for _, name := range slices.Sorted(maps.Keys(behaviours)) {
		if name != "wait" {
			all = append(all, request{name: "handler: " + name, query: query("encoding", "json", "message", string(text.message(name)))})
		}
	}
	for i := range all {
		all[i].method = http.MethodGet
	}
	return all
}

// TestLaneAnswersAsConnect makes the same calls with the lane and without.
func TestLaneAnswersAsConnect(t *testing.T) {
	t.Parallel()
	for _, ready := range []bool{false, true} {
		for _, on := range []transport{http1, std, engine} {
			s := startServers(t, on, ready)
			compare := func(group string, requests []request) {
				for _, r := range requests {
					name := fmt.Sprintf("%s, ready=%t/%s/%s", on, ready, group, r.name)
					*s.left = 0
					want, got := r.send(t, on != http1, s.general), r.send(t, on != http1, s.fast)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s: (-connecthttp +lane)\n%s", name, diff)
					}
					odd := on == engine && r.header.Get("Cookie") != ""
					if left := *s.left > 0; left != (r.left || odd || isNative(group) && on == http1) {
						t.Errorf("%s: left to connecthttp: %t", name, left)
					}
				}
			}
			for _, f := range forms {
				compare(f.contentType, f.requests())
			}
			compare("GET", gets())
		}
	}
}

// TestGetsOfAConnection sends each GET after each other one that has the same header.
func TestGetsOfAConnection(t *testing.T) {
	t.Parallel()
	s := startServers(t, engine, true)
	c := client(true)
	defer c.CloseIdleConnections()
	all := slices.DeleteFunc(gets(), func(r request) bool { return r.header != nil })
	want := make(map[string]answered)
	for _, r := range all {
		want[r.name] = r.send(t, true, s.general)
	}
	for _, first := range all {
		for _, second := range all {
			*s.left = 0
			for _, r := range []request{first, second} {
				if diff := cmp.Diff(want[r.name], r.sendBy(t, c, s.fast)); diff != "" {
					t.Fatalf("%s, then %s: (-connecthttp +lane)\n%s", first.name, second.name, diff)
				}
			}
			if left := *s.left; (left == 0) != (!first.left && !second.left) {
				t.Errorf("%s, then %s: %d left to connecthttp", first.name, second.name, left)
			}
		}
	}
}

// TestCopiedRequestIsNotDecodedAgain lets the lane have a message that is decoded, until the call
// has ended.
func TestCopiedRequestIsNotDecodedAgain(t *testing.T) {
	t.Parallel()
	released := make(chan struct{}, 1)
	l := lane.New(lane.Config{
		Server: testService(), Codecs: []connect.Codec{connectproto.NewBinaryCodec()},
		Ready: func(ctx context.Context, _ *connect.CallInfo, _ []byte) (context.Context, lane.Request, bool) {
			return ctx, decoded{"other", released}, true
		},
	})
	srv := start(t, l.Handler(http.NotFoundHandler()))
	r := request{method: http.MethodPost, header: http.Header{"Content-Type": {"application/proto"}}, body: form{}.message("this")}
	if got := r.send(t, true, srv); got.Body != string(form{}.message("other")) {
		t.Errorf("%+v", got)
	}
	<-released
}

type decoded struct {
	value    string
	released chan<- struct{}
}

func (d decoded) CopyTo(msg any) bool {
	value, ok := msg.(*wrapperspb.StringValue)
	if ok {
		value.Value = d.value
	}
	return ok
}

func (d decoded) Release() { d.released <- struct{}{} }

// panickingCodec panics in the middle of a message.
type panickingCodec struct{ connect.StableCodec }

func (panickingCodec) MarshalWrite(_ context.Context, dst io.Writer, _ any) error {
	_, _ = dst.Write([]byte("half")) // It is a buffer.
	panic("broken")
}

// recovering makes panics failures.
func recovering(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
		defer func() {
			if recover() != nil {
				err = connect.NewError(connect.CodeInternal, "panic")
			}
		}()
		return next(ctx, spec, stream)
	}
}

// TestHalfAMessageIsNoAnswer has the message of a response end in a panic.
func TestHalfAMessageIsNoAnswer(t *testing.T) {
	t.Parallel()
	rpc := connect.NewServer(recovering)
	rpc.Register(connect.Method{Spec: connect.Spec{Procedure: procedure}, Handler: func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
		return stream.Send(wrapperspb.String("whole"))
	}})
	l := lane.New(lane.Config{Server: rpc, Codecs: []connect.Codec{panickingCodec{connectproto.NewBinaryCodec()}}})
	srv := start(t, l.Handler(http.NotFoundHandler()))
	for _, f := range []form{{contentType: "application/proto"}, {contentType: "application/grpc"}, {contentType: "application/grpc-web"}} {
		body := f.message("this")
		if f.contentType != "application/proto" {
			body = append([]byte{0, 0, 0, 0, byte(len(body))}, body...)
		}
		got := request{method: http.MethodPost, header: http.Header{"Content-Type": {f.contentType}}, body: body}.send(t, true, srv)
		if text := fmt.Sprintf("%+v", got); strings.Contains(text, "half") || !strings.Contains(text, "panic") {
			t.Errorf("%s is answered with %s", f.contentType, text)
		}
	}
}

// TestFailedBodyIsLeftWithItsError lets a body fail after a part of it has come.
func TestFailedBodyIsLeftWithItsError(t *testing.T) {
	t.Parallel()
	var got []byte
	var gotErr error
	l := lane.New(lane.Config{Server: testService(), Codecs: []connect.Codec{connectproto.NewBinaryCodec()}})
	handler := l.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, gotErr = io.ReadAll(r.Body) }))
	broken := errors.New("broken")
	req := httptest.NewRequest(http.MethodPost, procedure, io.MultiReader(strings.NewReader("part"), failing{broken}))
	req.ContentLength = -1
	req.Header.Set("Content-Type", "application/proto")
	own := req.Body
	handler.ServeHTTP(httptest.NewRecorder(), req)
	if string(got) != "part" || !errors.Is(gotErr, broken) {
		t.Errorf("the general way got %q, %v", got, gotErr)
	}
	if req.Body != own {
		t.Error("the server's own request was changed")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
