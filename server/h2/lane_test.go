package h2_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectgzip"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/example/userd/server/h2"
)

const procedure = "/test.v1.TestService/Unary"

// testMaxBytes is the largest message that the test service takes and sends.
const testMaxBytes = 100_000

// unary is what the test service does with the text of a request. The text names it.
var unary = map[string]func(ctx context.Context, info *connect.CallInfo, stream connect.ServerStream) error{
	"info": func(_ context.Context, info *connect.CallInfo, stream connect.ServerStream) error {
		var lines []string
		for key, values := range info.RequestHeader().All() {
			lines = append(lines, fmt.Sprintf("%s: %v", key, values))
		}
		slices.Sort(lines)
		lines = append(lines, info.Protocol, info.Codec, info.RequestEncoding, info.ResponseEncoding,
			info.Spec.Procedure, fmt.Sprint(info.PeerAddr != ""), fmt.Sprint(info.ReceiveStats))
		return stream.Send(wrapperspb.String(strings.Join(lines, "\n")))
	},
	"large": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return stream.Send(wrapperspb.String(strings.Repeat("large", testMaxBytes/6)))
	},
	"too large": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return stream.Send(wrapperspb.String(strings.Repeat("x", testMaxBytes)))
	},
	"metadata": func(_ context.Context, info *connect.CallInfo, stream connect.ServerStream) error {
		info.ResponseHeader().Set("X-Ascii", "one")
		info.ResponseHeader().Add("X-Ascii", "two")
		info.ResponseHeader().Set("X-Blob-Bin", connect.EncodeBinaryHeader([]byte{0, 1, 2}))
		info.ResponseHeader().Set("X-Broken", "a\nb")
		info.ResponseHeader().Set("Content-Type", "text/plain")
		info.ResponseHeader().Set("Grpc-Status", "7")
		info.ResponseTrailer().Set("X-Trailer", "three")
		info.ResponseTrailer().Set("X-Blob-Bin", connect.EncodeBinaryHeader([]byte{3}))
		info.ResponseTrailer().Set("Grpc-Message", "no")
		info.ResponseTrailer().Set("Authorization", "not allowed")
		err := stream.Send(wrapperspb.String("metadata"))
		info.ResponseHeader().Set("X-Late", "header")
		info.ResponseTrailer().Set("X-Late", "trailer")
		return err
	},
	"metadata without a message": func(_ context.Context, info *connect.CallInfo, _ connect.ServerStream) error {
		info.ResponseHeader().Set("X-Header", "one")
		info.ResponseTrailer().Set("X-Trailer", "two")
		return nil
	},
	"send nil": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return stream.Send(nil)
	},
	"send headers": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return stream.SendHeaders()
	},
	"send what has no codec": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return stream.Send("a string")
	},
	"receive twice": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return connect.NewError(connect.CodeAborted, fmt.Sprint(stream.Receive(new(wrapperspb.StringValue))))
	},
	"error": func(_ context.Context, info *connect.CallInfo, _ connect.ServerStream) error {
		info.ResponseHeader().Set("X-Header", "one")
		info.ResponseTrailer().Set("X-Trailer", "two")
		return connect.NewError(connect.CodeNotFound, "Ünïcode, 100 % \t\n\x7f")
	},
	"error after a message": func(_ context.Context, _ *connect.CallInfo, stream connect.ServerStream) error {
		return errors.Join(stream.Send(wrapperspb.String("sent")), connect.NewError(connect.CodeDataLoss, "lost"))
	},
	"error with details": func(context.Context, *connect.CallInfo, connect.ServerStream) error {
		failure := connect.NewError(connect.CodeInvalidArgument, "bad")
		for _, message := range []proto.Message{
			&errdetails.ErrorInfo{Reason: "REASON", Domain: "domain"},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "f", Description: "d"}}},
		} {
			detail, err := connectproto.NewErrorDetail(message)
			if err != nil {
				return err
			}
			failure = failure.WithDetail(detail)
		}
		return fmt.Errorf("wrapped: %w", failure)
	},
	"error without text": func(context.Context, *connect.CallInfo, connect.ServerStream) error {
		return connect.NewError(0, "")
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
	"panic": func(context.Context, *connect.CallInfo, connect.ServerStream) error { panic(http.ErrAbortHandler) },
}

// testRPC is the test service. It echoes what it knows nothing better about.
func testRPC() *connect.Server {
	rpc := connect.NewServer()
	rpc.Register(connect.Method{
		Spec: connect.Spec{Procedure: procedure},
		Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
			request := new(wrapperspb.StringValue)
			if err := stream.Receive(request); err != nil {
				return err
			}
			if do, ok := unary[request.GetValue()]; ok {
				info, _ := connect.CallInfoForServerContext(ctx)
				return do(ctx, info, stream)
			}
			return stream.Send(request)
		},
	})
	return rpc
}

// testMux serves the test service with connecthttp, which is what the lane must
// be like.
func testMux(rpc *connect.Server) *http.ServeMux {
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc,
		connecthttp.WithCompressors(connectgzip.New()),
		connecthttp.WithCompressMinBytes(100),
		connecthttp.WithReadMaxBytes(testMaxBytes),
		connecthttp.WithSendMaxBytes(testMaxBytes))
	return mux
}

func testLane(rpc *connect.Server) *h2.Lane {
	return &h2.Lane{
		Server: rpc, Compressors: []connect.Compressor{connectgzip.New()},
		CompressMinBytes: 100, ReadMaxBytes: testMaxBytes, SendMaxBytes: testMaxBytes,
	}
}

// inline lets every call run on the reader but those that wait.
func inline(ctx context.Context, _ *connect.CallInfo, message []byte) (context.Context, bool) {
	return ctx, !bytes.Contains(message, []byte("wait"))
}

// envelope is a message as gRPC puts it into a body.
func envelope(flags byte, message []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message)))
	return append(b, message...)
}

func textMessage(text string) []byte {
	b, err := proto.Marshal(wrapperspb.String(text))
	if err != nil {
		panic(err)
	}
	return b
}

func zipped(message []byte) []byte {
	var b bytes.Buffer
	w, _ := connectgzip.New().Compress(&b)
	_, _ = w.Write(message)
	_ = w.Close()
	return b.Bytes()
}

// grpcCall is a request of gRPC, as good or bad as it may be.
type grpcCall struct {
	name   string
	method string // Default: POST.
	path   string // Default: procedure.
	header http.Header
	body   []byte
	other  bool // The lane leaves it to the handler.
}

func grpcCalls() []grpcCall {
	calls := []grpcCall{
		{name: "echo", body: envelope(0, textMessage("hello"))},
		{name: "empty message", body: envelope(0, nil)},
		{name: "no message"},
		{name: "two messages", body: append(envelope(0, textMessage("one")), envelope(0, textMessage("two"))...)},
		{name: "second message broken", body: append(envelope(0, textMessage("one")), envelope(0, []byte{0xff})...)},
		{name: "second message cut", body: append(envelope(0, textMessage("one")), 0, 0)},
		{name: "prefix cut", body: []byte{0, 0, 0}},
		{name: "message cut", body: envelope(0, textMessage("hello"))[:8]},
		{name: "message cut at once", body: envelope(0, textMessage("hello"))[:5]},
		{name: "broken message", body: envelope(0, []byte{0xff, 0xff})},
		{name: "broken text", body: envelope(0, []byte{0x0a, 1, 0xff})},
		{name: "too large", body: envelope(0, textMessage(strings.Repeat("x", testMaxBytes)))},
		{name: "too large, and cut", body: envelope(0, textMessage(strings.Repeat("x", testMaxBytes)))[:50_000]},
		{name: "as large as can be", body: envelope(0, textMessage(strings.Repeat("x", testMaxBytes-4)))},
		{name: "compressed without saying", body: envelope(1, zipped(textMessage("hello")))},
		{name: "compressed", header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, zipped(textMessage(strings.Repeat("hello", 100))))},
		{name: "compressed, answer too small to be", header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, zipped(textMessage("hello")))},
		{name: "compressed empty message", header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, nil)},
		{name: "compression said, not done", header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(0, textMessage("hello"))},
		{name: "broken compression", header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, []byte("not gzip"))},
		{name: "cut compression", header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, zipped(textMessage("hello"))[:12])},
		{name: "bomb", header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, zipped(textMessage(strings.Repeat("x", testMaxBytes))))},
		{name: "identity", header: http.Header{"Grpc-Encoding": {"identity"}}, body: envelope(0, textMessage("hello"))},
		{name: "accepts gzip", header: http.Header{"Grpc-Accept-Encoding": {"br, gzip,identity"}}, body: envelope(0, textMessage("info"))},
		{name: "accepts nothing known", header: http.Header{"Grpc-Accept-Encoding": {"br"}}, body: envelope(0, textMessage("info"))},
		{name: "unknown compression", other: true, header: http.Header{"Grpc-Encoding": {"br"}}, body: envelope(1, nil)},
		{name: "flags", body: envelope(2, textMessage("hello"))},
		{name: "flags and more", body: append(envelope(0x80, textMessage("hello")), 1, 2, 3)},
		{name: "flags and compression", header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(3, zipped(textMessage("hello")))},
		{name: "flags of an empty message", body: envelope(0x80, nil)},
		{name: "JSON", header: http.Header{"Content-Type": {"application/grpc+json"}}, body: envelope(0, []byte(`"hello"`))},
		{name: "JSON with a charset", other: true, header: http.Header{"Content-Type": {"application/grpc+json; charset=utf-8"}}, body: envelope(0, []byte(`"hello"`))},
		{name: "broken JSON", header: http.Header{"Content-Type": {"application/grpc+json"}}, body: envelope(0, []byte(`hello`))},
		{name: "unknown codec", other: true, header: http.Header{"Content-Type": {"application/grpc+xml"}}, body: envelope(0, nil)},
		{name: "timeout", header: http.Header{"Grpc-Timeout": {"50m"}}, body: envelope(0, textMessage("wait"))},
		{name: "no time at all", header: http.Header{"Grpc-Timeout": {"0n"}}, body: envelope(0, textMessage("wait"))},
		{name: "all the time", header: http.Header{"Grpc-Timeout": {"99999999H"}}, body: envelope(0, textMessage("hello"))},
		{name: "broken timeout", other: true, header: http.Header{"Grpc-Timeout": {"1x"}}, body: envelope(0, nil)},
		{name: "long timeout", other: true, header: http.Header{"Grpc-Timeout": {"123456789n"}}, body: envelope(0, nil)},
		{name: "negative timeout", other: true, header: http.Header{"Grpc-Timeout": {"-1n"}}, body: envelope(0, nil)},
		{name: "request metadata", header: http.Header{
			"X-One": {"1", "2"}, "X-Blob-Bin": {"AAEC"}, "User-Agent": {"grpc-test/1"}, "Authorization": {"Bearer x"},
		}, body: envelope(0, textMessage("info"))},
		{name: "cookies", other: true, header: http.Header{"Cookie": {"a=b"}}, body: envelope(0, textMessage("info"))},
		{name: "GET", other: true, method: http.MethodGet},
		{name: "query", other: true, path: procedure + "?a=b", body: envelope(0, textMessage("hello"))},
		{name: "unknown procedure", other: true, path: "/test.v1.TestService/Nothing", body: envelope(0, nil)},
	}
	for _, text := range slices.Sorted(maps.Keys(unary)) {
		header := http.Header{}
		if text == "wait" {
			continue
		}
		calls = append(calls, grpcCall{name: "handler: " + text, header: header, body: envelope(0, textMessage(text))})
	}
	return calls
}

// do makes the call, and returns what comes back.
func (g grpcCall) do(tb testing.TB, client *http.Client, url string) []string {
	tb.Helper()
	method, path := http.MethodPost, procedure
	if g.method != "" {
		method = g.method
	}
	if g.path != "" {
		path = g.path
	}
	req := newRequest(method, url+path, bytes.NewReader(g.body))
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Host = "test.example.com"
	maps.Copy(req.Header, g.header)
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return []string{withoutID(err)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	return []string{
		resp.Status, fmt.Sprint("header ", resp.Header), fmt.Sprintf("body %q", body), fmt.Sprint(err),
		fmt.Sprint("trailer ", resp.Trailer),
	}
}

// TestTrailersOfCalls ends a request with trailers, which gRPC has no use for.
func TestTrailersOfCalls(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: http.NotFoundHandler(), Lane: testLane(testRPC())})
	p := greet(t, srv.addr)
	p.must(p.open(1, false, p.request("POST", procedure, "content-type", "application/grpc")))
	p.must(p.WriteData(1, false, envelope(0, textMessage("hello"))))
	p.must(p.open(1, true, p.fields("x-trailer", "1")))
	if status := p.status(1); status != "200" {
		t.Errorf("status %s", status)
	}
}

// TestLaneIsLikeConnect makes every call of connecthttp on net/http, of the lane,
// and of the lane on the reader.
func TestLaneIsLikeConnect(t *testing.T) {
	t.Parallel()
	rpc := testRPC()
	std := transport{}.start(t, h2.Config{Handler: testMux(rpc)})
	lane := startEngine(t, h2.Config{Handler: testMux(rpc), Lane: testLane(rpc)})
	sure := testLane(rpc)
	sure.Inline = inline
	inlined := startEngine(t, h2.Config{Handler: testMux(rpc), Lane: sure})
	client := client(t)
	for _, call := range grpcCalls() {
		t.Run(call.name, func(t *testing.T) {
			want := call.do(t, client, std.url)
			for name, srv := range map[string]*server{"lane": lane, "inline": inlined} {
				before := srv.Stats().Calls.Load()
				for range 3 { // The second and third find their header's profile.
					if diff := cmp.Diff(want, call.do(t, client, srv.url)); diff != "" {
						t.Errorf("connecthttp -, %s +\n%s", name, diff)
					}
				}
				if took := srv.Stats().Calls.Load() - before; call.other != (took == 0) {
					t.Errorf("%s took %d calls", name, took)
				}
			}
		})
	}
	if inlined.Stats().InlineCalls.Load() == 0 || lane.Stats().InlineCalls.Load() != 0 {
		t.Errorf("inline calls: %d, without Inline %d", inlined.Stats().InlineCalls.Load(), lane.Stats().InlineCalls.Load())
	}
}
