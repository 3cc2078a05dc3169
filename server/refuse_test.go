package server_test

import (
	"bytes"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// refusal is a call of gRPC that is refused before it is read.
type refusal struct {
	name, path, host string
	field, value     string // Of the header, besides what every call has.
	status, reason   string // No reason where it has none.
}

// What is refused before Connect is one HEADERS frame over gRPC, which ends the stream
// and has the status. Proxies and clients take a header with a length and no body for
// the whole answer.
func TestRefusalsAreTrailersOnly(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	engine := servertest.Start(t, func(config *server.Config) { config.HTTP2 = server.Engine })
	const unary, stream = userv1connect.UserServiceGetUserProcedure, userv1connect.UserServiceListUsersProcedure
	for _, test := range []refusal{
		{"unknown compression", unary, "localhost", "grpc-encoding", "br", "12", "UNIMPLEMENTED"},
		{"broken timeout", unary, "localhost", "grpc-timeout", "soon", "3", "MALFORMED_REQUEST"},
		{"broken timeout of a stream", stream, "localhost", "grpc-timeout", "soon", "3", "MALFORMED_REQUEST"},
		{"unknown service", "/other.v1.Service/Call", "localhost", "te", "trailers", "12", ""},
		{"host", unary, "evil.example", "te", "trailers", "7", "PERMISSION_DENIED"},
		{"large header", unary, "localhost", "x-large", strings.Repeat("x", 70<<10), "8", "MESSAGE_TOO_LARGE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			on := running
			if test.name == "large header" {
				on = engine // net/http ends the connection, before any of this sees it.
			}
			frames := test.send(t, on)
			if on == engine {
				checkMetrics(t, on, `userd_requests_refused_total{kind="headers_too_large"} 1`)
			}
			if len(frames) != 1 || !frames[0].ended {
				t.Fatalf("%d frames: %v", len(frames), frames)
			}
			got := frames[0].fields
			if got["grpc-status"] != test.status || got[":status"] != "200" || got["content-type"] != "application/grpc" {
				t.Errorf("the header is %v", got)
			}
			if _, ok := got["content-length"]; ok {
				t.Errorf("it has a length: %v", got)
			}
			if _, ok := got["grpc-status-details-bin"]; ok == (test.reason == "") {
				t.Errorf("details are there: %v", ok)
			}
			details, err := connect.DecodeBinaryHeader(got["grpc-status-details-bin"])
			if err != nil || !bytes.Contains(details, []byte(test.reason)) {
				t.Errorf("no reason %s in %q, %v", test.reason, details, err)
			}
		})
	}
}

// answerFrame is a HEADERS or DATA frame of an answer.
type answerFrame struct {
	kind   http2.FrameType
	fields map[string]string
	ended  bool
}

// send makes the call and returns the frames of the answer.
func (r refusal) send(t *testing.T, running *servertest.Server) (frames []answerFrame) {
	t.Helper()
	raw, _ := dialRaw(t, running)
	block := raw.fields(":method", "POST", ":scheme", "http", ":authority", r.host, ":path", r.path,
		"content-type", "application/grpc", r.field, r.value)
	const most = 16 << 10
	first := block[:min(most, len(block))]
	rest := block[len(first):]
	raw.must(raw.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndHeaders: len(rest) == 0}))
	for len(rest) > 0 {
		next := rest[:min(most, len(rest))]
		rest = rest[len(next):]
		raw.must(raw.framer.WriteContinuation(1, len(rest) == 0, next))
	}
	raw.must(raw.framer.WriteData(1, true, []byte{0, 0, 0, 0, 0}))
	table := hpack.NewDecoder(4096, nil)
	for {
		frame := awaitFrame(raw, func(frame http2.Frame) bool {
			return frame.Header().StreamID == 1 && frame.Header().Type != http2.FrameWindowUpdate && frame.Header().Type != http2.FrameRSTStream
		})
		got := answerFrame{kind: frame.Header().Type, ended: frame.Header().Flags.Has(http2.FlagDataEndStream)}
		if headers, ok := frame.(*http2.HeadersFrame); ok {
			fields, err := table.DecodeFull(headers.HeaderBlockFragment())
			raw.must(err)
			got.fields = make(map[string]string)
			for _, field := range fields {
				got.fields[field.Name] = field.Value
			}
		}
		if frames = append(frames, got); got.ended {
			return frames
		}
	}
}
