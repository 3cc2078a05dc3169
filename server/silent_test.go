package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	userv1 "github.com/example/userd/gen/user/v1"
)

// importBegun begins an import over HTTP/1.1, whose first row has come, and says no more. Rows
// that are not valid need no store.
func importBegun(t *testing.T, conn net.Conn, header string) {
	t.Helper()
	row := envelope(t, &userv1.CreateUserRequest{})
	_, err := fmt.Fprintf(conn, "POST /user.v1.UserService/BatchCreateUsers HTTP/1.1\r\nHost: test\r\nContent-Type: application/connect+proto\r\n"+
		"%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", header, len(row), row)
	if err != nil {
		t.Fatal(err)
	}
}

// postOverHTTP1 makes a call whose request is whole.
func postOverHTTP1(t *testing.T, conn net.Conn, rpc, header, body string) {
	t.Helper()
	_, err := fmt.Fprintf(conn, "POST /user.v1.UserService/%s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s", rpc, header, len(body), body)
	if err != nil {
		t.Fatal(err)
	}
}

// answerOf is the status and the body of the next answer over HTTP/1.1.
func answerOf(t *testing.T, conn *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status + " " + string(text)
}

// A stream of requests ends with its deadline, also where its caller then sends nothing.
func TestDeadlineEndsSilentStreams(t *testing.T) {
	const deadline = 500 * time.Millisecond
	for name, test := range map[string]func(t *testing.T, conn net.Conn) (end string){
		"HTTP/1.1": func(t *testing.T, conn net.Conn) string {
			importBegun(t, conn, "Connect-Timeout-Ms: 500\r\n")
			return answerOf(t, bufio.NewReader(conn))
		},
		"HTTP/2 import": func(t *testing.T, conn net.Conn) string {
			return silentOverHTTP2(t, conn, "BatchCreateUsers", envelope(t, &userv1.CreateUserRequest{}))
		},
		"HTTP/2 updates": func(t *testing.T, conn net.Conn) string {
			return silentOverHTTP2(t, conn, "StreamUserUpdates", envelope(t, &userv1.UserUpdate{}))
		},
		"HTTP/2 updates, none": func(t *testing.T, conn net.Conn) string {
			return silentOverHTTP2(t, conn, "StreamUserUpdates", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := startInMemory(t, 0)
				conn := s.service.dial()
				start := time.Now()
				if end := test(t, conn); !strings.Contains(end, "deadline_exceeded") && end != "4" {
					t.Errorf("the stream ends with %q", end)
				}
				if took := time.Since(start); took > 2*deadline {
					t.Errorf("the stream ends after %v", took)
				}
				go func() { _, _ = io.Copy(io.Discard, conn) }()
				s.drain(t.Context())
				s.awaitEnd(t)
				conn.Close()
			})
		})
	}
}

// silentOverHTTP2 begins a stream of gRPC, sends a message, and returns the status that it ends with.
func silentOverHTTP2(t *testing.T, conn net.Conn, rpc string, message []byte) string {
	t.Helper()
	raw, _ := newRawConn(t, conn, "test")
	raw.call(1, "/user.v1.UserService/"+rpc, "grpc-timeout", "500m")
	if message != nil {
		raw.must(raw.framer.WriteData(1, false, message))
	}
	status := ""
	decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == "grpc-status" {
			status = f.Value
		}
	})
	awaitFrame(raw, func(frame http2.Frame) bool {
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			_, err := decoder.Write(frame.HeaderBlockFragment())
			raw.must(err)
			return frame.StreamEnded()
		case *http2.RSTStreamFrame:
			status = frame.ErrCode.String()
			return true
		case *http2.PingFrame:
			raw.must(raw.framer.WritePing(true, frame.Data))
		}
		return false
	})
	return status
}

// A server that stops tells imports that say nothing, over HTTP/1.1 too, and waits no longer.
func TestDrainAnswersSilentImports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startInMemory(t, 0)
		conn := s.service.dial()
		importBegun(t, conn, "")
		synctest.Wait() // The row was read.
		start := time.Now()
		s.drain(t.Context())
		if end := answerOf(t, bufio.NewReader(conn)); !strings.Contains(end, "unavailable") {
			t.Errorf("the import ends with %q", end)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("the import ends after %v", took)
		}
		s.awaitEnd(t)
		conn.Close()
	})
}

// The deadline of an import that has come whole is not that of its connection.
func TestDeadlineOfWholeImportLeavesItsConnection(t *testing.T) {
	t.Parallel()
	running := startFaulty(t, func(ctx context.Context, method string) error {
		if method != "Import" {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	conn, err := dialHTTP1(running)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	row := envelope(t, newUserRequest(1))
	for _, request := range []struct{ rpc, header, body, want string }{
		{"BatchCreateUsers", "Content-Type: application/connect+proto\r\nConnect-Timeout-Ms: 50\r\n", string(row), "deadline_exceeded"},
		{"GetUser", "Content-Type: application/json\r\n", `{"userId":"` + someID + `"}`, "{}"},
	} {
		postOverHTTP1(t, conn, request.rpc, request.header, request.body)
		if text := answerOf(t, answers); !strings.Contains(text, request.want) {
			t.Errorf("%s is answered with %q", request.rpc, text)
		}
	}
}
