package h2_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectgzip"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"golang.org/x/net/http2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/example/userd/server/h2"
	"github.com/example/userd/server/lane"
)

const procedure = "/test.v1.TestService/Unary"

// testMaxBytes is the largest message that the test service takes.
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
		connecthttp.WithReadMaxBytes(testMaxBytes))
	return mux
}

// testLane answers unary calls directly: on the reader those that ready says.
func testLane(rpc *connect.Server, ready func(message []byte) bool) *lane.Lane {
	config := lane.Config{
		Server: rpc, Codecs: []connect.Codec{connectproto.NewBinaryCodec(), connectproto.NewJSONCodec()},
		Compressors: []connect.Compressor{connectgzip.New()}, CompressMinBytes: 100, ReadMaxBytes: testMaxBytes,
	}
	if ready != nil {
		config.Ready = func(ctx context.Context, _ *connect.CallInfo, message []byte) (context.Context, lane.Request, bool) {
			return ctx, nil, ready(message)
		}
	}
	return lane.New(config)
}

// inline lets every call run on the reader but those that wait.
func inline(message []byte) bool { return !bytes.Contains(message, []byte("wait")) }

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
	header http.Header
	body   []byte
}

func grpcCalls() []grpcCall {
	calls := []grpcCall{
		{body: envelope(0, textMessage("hello"))},
		{body: envelope(0, nil)},
		{},
		{body: append(envelope(0, textMessage("one")), envelope(0, textMessage("two"))...)},
		{body: append(envelope(0, textMessage("one")), envelope(0, []byte{0xff})...)},
		{body: append(envelope(0, textMessage("one")), 0, 0)},
		{body: []byte{0, 0, 0}},
		{body: envelope(0, textMessage("hello"))[:8]},
		{body: envelope(0, textMessage("hello"))[:5]},
		{body: envelope(0, []byte{0xff, 0xff})},
		{body: envelope(0, []byte{0x0a, 1, 0xff})},
		{body: envelope(1, zipped(textMessage("hello")))},
		{header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, zipped(textMessage(strings.Repeat("hello", 100))))},
		{header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, zipped(textMessage("hello")))},
		{header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, nil)},
		{header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(0, textMessage("hello"))},
		{header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, []byte("not gzip"))},
		{header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, zipped(textMessage("hello"))[:12])},
		{header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(1, zipped(textMessage(strings.Repeat("x", testMaxBytes))))},
		{body: envelope(2, textMessage("hello"))},
		{body: append(envelope(0x80, textMessage("hello")), 1, 2, 3)},
		{header: http.Header{"Grpc-Encoding": {"gzip"}}, body: envelope(3, zipped(textMessage("hello")))},
		{body: envelope(0x80, nil)},
		{header: http.Header{"Content-Type": {"application/grpc+json"}}, body: envelope(0, []byte(`"hello"`))},
		{header: http.Header{"Content-Type": {"application/grpc+json"}}, body: envelope(0, []byte(`hello`))},
	}
	for _, text := range slices.Sorted(maps.Keys(unary)) {
		calls = append(calls, grpcCall{body: envelope(0, textMessage(text))})
	}
	return calls
}

// TestLengthWithoutContent has a request say that it has content, and end before.
func TestLengthWithoutContent(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: http.NotFoundHandler(), Direct: testLane(testRPC(), nil)})
	for _, path := range []string{procedure, "/other"} {
		p := greet(t, srv.addr)
		p.must(p.open(1, true, p.request("POST", path, "content-type", "application/proto", "content-length", "5")))
		if code := p.reset(1); code != http2.ErrCodeProtocol {
			t.Errorf("%s: reset with %v", path, code)
		}
		p.alive()
	}
}

// TestTrailersOfCalls ends a request with trailers, which gRPC has no use for.
func TestTrailersOfCalls(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{Handler: http.NotFoundHandler(), Direct: testLane(testRPC(), nil)})
	p := greet(t, srv.addr)
	p.must(p.open(1, false, p.request("POST", procedure, "content-type", "application/grpc")))
	p.must(p.WriteData(1, false, envelope(0, textMessage("hello"))))
	p.must(p.open(1, true, p.fields("x-trailer", "1")))
	if status := p.status(1); status != "200" {
		t.Errorf("status %s", status)
	}
}

// TestRequestsThatTakeTooLong has more of a request come at the moment when it is left to the
// handler, because the whole takes too long.
func TestRequestsThatTakeTooLong(t *testing.T) {
	t.Parallel()
	srv := startEngine(t, h2.Config{
		Direct: testLane(testRPC(), nil), ReadTimeout: 10 * time.Millisecond,
		PingTimeout: 20 * time.Millisecond, // Streams are looked at more often than that.
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestTimeout) }),
	})
	var bytesOfOne bytes.Buffer
	frames := http2.NewFramer(&bytesOfOne, nil)
	for range 1000 {
		if err := frames.WriteData(1, false, []byte{0}); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for range 40 {
		p := greet(t, srv.addr)
		p.must(p.open(1, false, p.request("POST", procedure, "content-type", "application/proto")))
		all.Go(func() {
			for {
				if _, err := p.conn.Write(bytesOfOne.Bytes()); err != nil {
					return // It is closed below.
				}
			}
		})
		if status := p.status(1); status != "408" {
			t.Errorf("status %s", status)
		}
		_ = p.conn.Close()
	}
	all.Wait()
}
