package clienttest

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/example/userd/cmd/userd/userdtest"
)

// newCurl returns curl as a client of the Connect protocol in JSON: RPCs without
// side effects by GET, streams in envelopes.
func newCurl(t *testing.T, url, httpVersion string, args ...string) client {
	c := curl{path: userdtest.Program(t, "curl"), url: url}
	switch httpVersion {
	case "1.1":
		c.args = []string{"--http1.1"}
	case "2":
		c.args = []string{"--http2-prior-knowledge", "--compressed"}
	}
	c.args = append(c.args, args...)
	c.status = "200 " + httpVersion
	return client{open: c.open, clientStreams: true, bidiStreams: httpVersion == "2"}
}

type curl struct {
	path, url string
	args      []string
	status    string // Of a success, as -w writes it.
}

func (c curl) open(ctx context.Context, name protoreflect.Name) *rpc {
	method := service.Methods().ByName(name)
	if method.IsStreamingClient() || method.IsStreamingServer() {
		return c.stream(ctx, name)
	}
	return c.unary(ctx, method)
}

// start runs curl for one RPC, with the HTTP status in its standard error.
func (c curl) start(ctx context.Context, name protoreflect.Name, args ...string) *process {
	args = append(args, "--insecure", "--silent", "--show-error", "--no-buffer", "--write-out", "%{stderr}%{http_code} %{http_version}")
	args = append(args, c.args...)
	return start(ctx, c.path, append(args, fmt.Sprintf("%s/%s/%s", c.url, service.FullName(), name))...)
}

func (c curl) unary(ctx context.Context, method protoreflect.MethodDescriptor) *rpc {
	args := []string{"--header", "Content-Type: application/json", "--data-binary", "@-"}
	if method.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
		args = []string{"--get", "--data", "connect=v1", "--data", "encoding=json", "--data-urlencode", "message@-"}
	}
	ctx, cancel := context.WithCancel(ctx)
	p := c.start(ctx, method.Name(), args...)
	r := newRPC()
	r.send = func(request []byte) { _, _ = p.stdin.Write(request) }
	r.close = func() { p.stdin.Close() }
	r.cancel = cancel
	go func() {
		defer cancel()
		body, _ := io.ReadAll(p.stdout)
		switch err := p.wait(); {
		case err != nil:
			r.finish(end{err: err})
		case p.stderr.String() == c.status:
			r.responses <- body
			r.finish(end{})
		default:
			r.finish(endOfJSON(body))
		}
	}()
	return r
}

// stream makes an RPC with enveloped messages: a byte of flags, four of length,
// the message. The last envelope of the responses has flag 2 and the end.
func (c curl) stream(ctx context.Context, name protoreflect.Name) *rpc {
	ctx, cancel := context.WithCancel(ctx)
	p := c.start(ctx, name, "--request", "POST", "--header", "Content-Type: application/connect+json",
		"--header", "Expect:", "--upload-file", ".") // From standard input, while responses come in.
	r := newRPC()
	r.send = func(request []byte) {
		envelope := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request)))
		_, _ = p.stdin.Write(append(envelope, request...))
	}
	r.close = func() { p.stdin.Close() }
	r.cancel = cancel
	go func() {
		defer cancel()
		last := r.readEnvelopes(p.stdout)
		if err := p.wait(); err != nil {
			last = end{err: err}
		}
		r.finish(last)
	}()
	return r
}

func (r *rpc) readEnvelopes(body io.Reader) end {
	for {
		var envelope [5]byte
		if _, err := io.ReadFull(body, envelope[:]); err != nil {
			return end{err: fmt.Errorf("stream without an end: %w", err)}
		}
		message := make([]byte, binary.BigEndian.Uint32(envelope[1:]))
		if _, err := io.ReadFull(body, message); err != nil {
			return end{err: fmt.Errorf("incomplete message: %w", err)}
		}
		if envelope[0] != 2 {
			r.responses <- message
			continue
		}
		var last struct {
			Error    json.RawMessage     `json:"error"`
			Metadata map[string][]string `json:"metadata"`
		}
		if err := json.Unmarshal(message, &last); err != nil {
			return end{err: err}
		}
		if last.Error != nil {
			return endOfJSON(last.Error)
		}
		trailer := map[string]string{}
		for key, values := range last.Metadata {
			trailer[strings.ToLower(key)] = values[0]
		}
		return end{Trailer: trailer}
	}
}

// endOfJSON reads the JSON of an error in the Connect protocol.
func endOfJSON(body []byte) end {
	var wire struct {
		Code    connect.Code `json:"code"`
		Message string       `json:"message"`
		Details []struct {
			Type  string `json:"type"`
			Value string `json:"value"`
		} `json:"details"`
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return end{err: fmt.Errorf("%w: %s", err, body)}
	}
	e := end{Code: uint32(wire.Code), Message: wire.Message}
	for _, detail := range wire.Details {
		value, err := base64.RawStdEncoding.DecodeString(detail.Value)
		if err != nil {
			return end{err: err}
		}
		packed, err := protojson.Marshal(&anypb.Any{TypeUrl: "type.googleapis.com/" + detail.Type, Value: value})
		if err != nil {
			return end{err: err}
		}
		e.Details = append(e.Details, packed)
	}
	return e
}
