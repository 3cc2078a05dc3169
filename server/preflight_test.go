package server_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store/storetest/transcript"
)

// fault is a request that is not wrong in its message.
type fault struct {
	name     string
	protocol protocol
	message  proto.Message
	change   func(*http.Request)
	want     failure
}

var connectGet = protocol{"connect get", []connecthttp.Option{connecthttp.WithHTTPGet()}}

func checkFaults(t *testing.T, running *servertest.Server, faults []fault) {
	t.Helper()
	for _, test := range faults {
		t.Run(test.protocol.name+"/"+test.name, func(t *testing.T) {
			client := changing(servertest.HTTP2(t), test.change)
			err := send(t.Context(), running.ClientOf(client, test.protocol.options...), test.message)
			checkError(t, err, test.want)
		})
	}
}

// What is wrong outside of the message is named like a field.
func TestMalformedHeaders(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	header := func(name, value string) func(*http.Request) {
		return func(req *http.Request) { req.Header.Set(name, value) }
	}
	query := func(change func(url.Values)) func(*http.Request) {
		return func(req *http.Request) {
			values := req.URL.Query()
			change(values)
			req.URL.RawQuery = values.Encode()
		}
	}
	unimplemented := failure{code: connect.CodeUnimplemented, reason: userv1.Reason_REASON_UNIMPLEMENTED}
	unary, stream := &userv1.GetUserRequest{UserId: someID}, &userv1.ListUsersRequest{All: true}
	checkFaults(t, running, []fault{
		{"timeout without unit", grpcBinary, unary, header("Grpc-Timeout", "100"), malformed("Grpc-Timeout")},
		{"long timeout", grpcBinary, stream, header("Grpc-Timeout", "123456789m"), malformed("Grpc-Timeout")},
		{"negative timeout", grpcWeb, unary, header("Grpc-Timeout", "-1S"), malformed("Grpc-Timeout")},
		{"timeout of no number", connectRPC, unary, header("Connect-Timeout-Ms", private), malformed("Connect-Timeout-Ms")},
		{"long timeout", connectJSON, stream, header("Connect-Timeout-Ms", "12345678901"), malformed("Connect-Timeout-Ms")},
		{"negative timeout", connectGet, unary, header("Connect-Timeout-Ms", "-1"), malformed("Connect-Timeout-Ms")},
		{"version", connectRPC, unary, header("Connect-Protocol-Version", "2"), malformed("Connect-Protocol-Version")},
		{"version", connectJSON, stream, header("Connect-Protocol-Version", private), malformed("Connect-Protocol-Version")},
		{"version", connectGet, unary, query(func(q url.Values) { q.Set("connect", "v2") }), malformed("connect")},
		{"compression", connectGet, unary, query(func(q url.Values) { q.Set("compression", "br") }), unimplemented},
		{"encoding", connectGet, unary, query(func(q url.Values) { q.Set("encoding", private) }), malformed("encoding")},
		{"no encoding", connectGet, unary, query(func(q url.Values) { q.Del("encoding") }), malformed("encoding")},
		{"no message", connectGet, unary, query(func(q url.Values) { q.Del("message") }), malformed("message")},
	})
}

// Media types are taken as RFC 9110 section 8.3.1 lets callers write them: in any case, with
// blanks before their parameters, and with parameters that mean nothing.
func TestMediaTypesInAnyForm(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	id := create(t, running.Client(t), newUserRequest(1)).GetId()
	for name, change := range map[string]func(mediaType string) string{
		"capitals":           strings.ToUpper,
		"parameter":          func(mediaType string) string { return mediaType + ";charset=utf-8" },
		"blanks":             func(mediaType string) string { return mediaType + " \t; charset=utf-8" },
		"blanks and nothing": func(mediaType string) string { return mediaType + " ;" },
		"quotes":             func(mediaType string) string { return mediaType + `;charset="UTF-8"` },
		"part of UTF-8":      func(mediaType string) string { return mediaType + "; charset=us-ascii" },
		"others":             func(mediaType string) string { return mediaType + "; odata.metadata=minimal; charset=utf-8" },
	} {
		for _, protocol := range []protocol{grpcBinary, grpcWeb, connectJSON, connectRPC} {
			t.Run(protocol.name+" "+name, func(t *testing.T) {
				client := running.ClientOf(changing(servertest.HTTP2(t), func(req *http.Request) {
					req.Header.Set("Content-Type", change(req.Header.Get("Content-Type")))
				}), protocol.options...)
				if err := send(t.Context(), client, &userv1.GetUserRequest{UserId: id}); err != nil {
					t.Errorf("GetUser: %v", err)
				}
				if err := send(t.Context(), client, &userv1.ListUsersRequest{All: true}); err != nil {
					t.Errorf("ListUsers: %v", err)
				}
			})
		}
	}
}

// So are the names of compressions, by section 8.4.1 and, where gRPC and Connect have headers of
// their own, by the rules of ABNF.
func TestCompressionsInCapitals(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	id := create(t, running.Client(t), newUserRequest(1)).GetId()
	for transport, client := range map[string]*http.Client{"HTTP/1.1": servertest.HTTP1(t), "HTTP/2": servertest.HTTP2(t)} {
		for _, protocol := range []protocol{grpcBinary, grpcWeb, connectJSON, connectRPC} {
			if protocol.name == grpcBinary.name && transport == "HTTP/1.1" {
				continue
			}
			t.Run(transport+" "+protocol.name, func(t *testing.T) {
				t.Parallel()
				var changed atomic.Int64
				client := running.ClientOf(changing(client, func(req *http.Request) {
					for _, header := range []string{"Grpc-Encoding", "Connect-Content-Encoding", "Content-Encoding"} {
						if name := req.Header.Get(header); name != "" {
							changed.Add(1)
							req.Header.Set(header, strings.ToUpper(name))
						}
					}
				}), protocol.with(connecthttp.WithSendGzip())...)
				if err := send(t.Context(), client, &userv1.GetUserRequest{UserId: id}); err != nil {
					t.Errorf("GetUser: %v", err)
				}
				if err := send(t.Context(), client, &userv1.ListUsersRequest{All: true}); err != nil {
					t.Errorf("ListUsers: %v", err)
				}
				if changed.Load() != 2 {
					t.Errorf("%d requests were compressed, want 2", changed.Load())
				}
			})
		}
	}
}

// A request in a compression that the server does not know is told those that it knows, as the
// specification of gRPC's compression has it.
func TestUnknownCompressionIsToldOthers(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for _, test := range []struct{ rpc, contentType, header, want string }{
		{"GetUser", "application/grpc", "Grpc-Encoding", "Grpc-Accept-Encoding"},
		{"ListUsers", "application/grpc+proto", "Grpc-Encoding", "Grpc-Accept-Encoding"},
		{"GetUser", "application/grpc-web", "Grpc-Encoding", "Grpc-Accept-Encoding"},
		{"GetUser", "application/grpc-web-text", "Grpc-Encoding", "Grpc-Accept-Encoding"},
		{"GetUser", "application/json", "Content-Encoding", "Accept-Encoding"},
		{"ListUsers", "application/connect+proto", "Connect-Content-Encoding", "Connect-Accept-Encoding"},
	} {
		res, _ := do(t, servertest.HTTP2(t), http.MethodPost, running.URL+"/user.v1.UserService/"+test.rpc, "",
			"Content-Type", test.contentType, test.header, "br")
		if got := res.Header.Get(test.want); got != "zstd,gzip" {
			t.Errorf("%s as %s is told %q: %v", test.rpc, test.contentType, got, res.Header)
		}
	}
}

// A caller that breaks the framing of its protocol fills nobody's log.
func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	logged := new(transcript.Log)
	running := servertest.Start(t, func(config *server.Config) { config.Logger = logged.Logger() })
	broken := failure{code: connect.CodeInvalidArgument, reason: userv1.Reason_REASON_MALFORMED_REQUEST}
	undeclared := failure{code: connect.CodeInternal, reason: userv1.Reason_REASON_MALFORMED_REQUEST}
	body := func(frame string) func(*http.Request) {
		return func(req *http.Request) {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(frame)), int64(len(frame))
			req.Header.Del("Grpc-Encoding")
		}
	}
	unary, stream := &userv1.GetUserRequest{UserId: someID}, &userv1.ListUsersRequest{All: true}
	checkFaults(t, running, []fault{
		{"half a prefix", grpcBinary, unary, body("\x00\x00"), broken},
		{"half a message", grpcBinary, unary, body("\x00\x00\x00\x00\x05hush"), broken},
		{"compressed without encoding", grpcBinary, stream, body("\x01\x00\x00\x00\x04hush"), undeclared},
		{"compressed without encoding", connectRPC, stream, body("\x01\x00\x00\x00\x04hush"), undeclared},
		{"unknown flags", grpcBinary, unary, body("\x40\x00\x00\x00\x04hush"), broken},
		{"unknown flags and more", grpcBinary, stream, body("\x40\x00\x00\x00\x04hush!"), broken},
		{"unknown flags and more", grpcWeb, unary, body("\x40\x00\x00\x00\x04hush!"), broken},
		{"unknown flags and more", connectJSON, stream, body("\x40\x00\x00\x00\x04hush!"), broken},
		{"half a message", grpcWeb, unary, body("\x00\x00\x00\x00\x05hush"), broken},
		{"half a message", connectRPC, stream, body("\x00\x00\x00\x00\x05hush"), broken},
		{"no base64", connectGet, unary, func(req *http.Request) {
			req.URL.RawQuery = "connect=v1&encoding=proto&base64=1&message=*hush*"
		}, malformed("message")},
	})
	if text := logged.String(); strings.Contains(text, "level=ERROR") {
		t.Errorf("log has errors:\n%s", text)
	}
}

// Over HTTP/1.1 a body can be broken below the framing of its protocol.
func TestMalformedBodiesOverHTTP1(t *testing.T) {
	t.Parallel()
	logged := new(transcript.Log)
	running := servertest.Start(t, func(config *server.Config) { config.Logger = logged.Logger() })
	for name, request := range map[string]string{
		"chunk size": "POST /user.v1.UserService/CreateUser HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
			"Transfer-Encoding: chunked\r\n\r\nhush\r\n{}\r\n",
		"chunk size of a stream": "POST /user.v1.UserService/BatchCreateUsers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/connect+json\r\n" +
			"Transfer-Encoding: chunked\r\n\r\nhush\r\n{}\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(running.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn) // The connection ends with it.
			if err != nil || !strings.Contains(string(answer), "invalid_argument") || !strings.Contains(string(answer), "MALFORMED_REQUEST") {
				t.Errorf("the answer is %q, %v", answer, err)
			}
		})
	}
	if text := logged.String(); strings.Contains(text, "level=ERROR") {
		t.Errorf("log has errors:\n%s", text)
	}
}

func TestTimeoutsAtTheirLimitsAreTaken(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for name, test := range map[string]struct {
		protocol
		values []string
	}{
		"Grpc-Timeout":       {grpcBinary, []string{"99999999H", "99999999M", "99999999S", "99999999m", "99999999u"}},
		"Connect-Timeout-Ms": {connectRPC, []string{"9999999999"}},
	} {
		for _, value := range test.values {
			client := changing(servertest.HTTP2(t), func(req *http.Request) { req.Header.Set(name, value) })
			err := send(t.Context(), running.ClientOf(client, test.options...), &userv1.GetUserRequest{UserId: someID})
			if err != nil {
				t.Errorf("%s %s: %v", name, value, err)
			}
		}
	}
}
