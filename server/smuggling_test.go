package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

// rawRequest is a request over HTTP/1.1, byte by byte.
type rawRequest struct {
	name, method, path, contentType string
	header                          string // Further fields.
	body                            string
	refused                         bool // By its header: the body is not read.
}

// head is the request line and the header, with the framing of the body.
func (r rawRequest) head(framing string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n%s%s\r\n\r\n", r.method, r.path, r.contentType, r.header, framing)
}

func (r rawRequest) chunked(rest string) string {
	return r.head("Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n", len(r.body), r.body) + rest
}

func (r rawRequest) sized(size int) string {
	return r.head(fmt.Sprintf("Content-Length: %d", size)) + r.body
}

// patient reports whether the request may take as long as it likes.
func (r rawRequest) patient() bool {
	return strings.HasSuffix(r.path, "/BatchCreateUsers") && !r.refused
}

// bodyEnd is a way in which the body of a request ends.
type bodyEnd struct {
	name   string
	clean  bool // What follows is another request.
	halts  bool // What follows comes after the answer.
	leaves bool // The peer sends no more, and says so.
	resets bool // The peer is gone at last, without reading.
	bytes  func(r rawRequest) string
}

var bodyEnds = []bodyEnd{
	{name: "chunks", clean: true, bytes: func(r rawRequest) string { return r.chunked("0\r\n\r\n") }},
	{name: "length", clean: true, bytes: func(r rawRequest) string { return r.sized(len(r.body)) }},
	{name: "invalid chunk size", bytes: func(r rawRequest) string { return r.chunked("zz\r\n") }},
	{name: "huge chunk size", bytes: func(r rawRequest) string { return r.chunked("fffffffffffffffff\r\n") }},
	{name: "chunk longer than its size", bytes: func(r rawRequest) string {
		return r.head("Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%sXX0\r\n\r\n", len(r.body), r.body)
	}},
	{name: "trailer garbage", bytes: func(r rawRequest) string { return r.chunked("0\r\nno trailer\r\n\r\n") }},
	{name: "halt between chunks", halts: true, bytes: func(r rawRequest) string { return r.chunked("") }},
	{name: "halt in a chunk", halts: true, bytes: func(r rawRequest) string { return r.chunked("ffff\r\n") }},
	{name: "halt before the length", halts: true, bytes: func(r rawRequest) string { return r.sized(len(r.body) + 1000) }},
	{name: "halt before a large length", halts: true, bytes: func(r rawRequest) string { return r.sized(1 << 20) }},
	{name: "half close before the length", leaves: true, bytes: func(r rawRequest) string { return r.sized(len(r.body) + 1000) }},
	{name: "more than the length", bytes: func(r rawRequest) string { return r.sized(len(r.body)) + "X" }},
	{name: "reset before the length", resets: true, bytes: func(r rawRequest) string { return r.sized(len(r.body) + 1000) }},
	{name: "larger than a message may be", bytes: func(r rawRequest) string {
		r.body = strings.Repeat(" ", 70<<10)
		return r.chunked("zz\r\n")
	}},
	{name: "larger than anybody reads", halts: true, bytes: func(r rawRequest) string {
		return r.sized(len(r.body)+1<<20) + strings.Repeat("\r\n", 150<<10)
	}},
}

// rawRequests are requests of each kind, codec and protocol, and refused ones.
func rawRequests() []rawRequest {
	const service = "/user.v1.UserService/"
	var requests []rawRequest
	for _, rpc := range []struct{ name, json, binary string }{
		{"GetUser", `{"userId":"` + nearID(3) + `"}`, "\x0a\x24" + nearID(3)},
		{"SearchUsers", `{"pageSize":1}`, "\x20\x01"},
		{"ListUsers", `{"pageSize":1}`, "\x08\x01"},
		{"BatchCreateUsers", `{"email":""}`, "\x0a\x00"},
	} {
		for codec, message := range map[string]string{"json": rpc.json, "proto": rpc.binary} {
			enveloped := string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))) + message
			connectType, connectBody := "application/"+codec, message
			if rpc.name == "ListUsers" || rpc.name == "BatchCreateUsers" {
				connectType, connectBody = "application/connect+"+codec, enveloped
			}
			for _, format := range [][2]string{
				{connectType, connectBody},
				{"application/grpc-web+" + codec, enveloped},
				{"application/grpc-web-text+" + codec, base64.StdEncoding.EncodeToString([]byte(enveloped))},
			} {
				requests = append(requests, rawRequest{method: "POST", path: service + rpc.name, contentType: format[0], body: format[1]})
			}
		}
	}
	json := `{"userId":"` + nearID(3) + `"}`
	for _, refused := range []rawRequest{
		{name: "404", method: "POST", path: "/nowhere", contentType: "application/json"},
		{name: "method that is none", method: "POST", path: service + "Nothing", contentType: "application/json"},
		{name: "415", method: "POST", path: service + "SearchUsers", contentType: "text/plain"},
		{name: "415", method: "POST", path: service + "BatchCreateUsers", contentType: "text/plain"},
		{name: "405", method: "PUT", path: service + "SearchUsers", contentType: "application/json"},
		{name: "compression", method: "POST", path: service + "SearchUsers", contentType: "application/json", header: "Content-Encoding: br\r\n"},
		{name: "compression", method: "POST", path: service + "BatchCreateUsers", contentType: "application/connect+json", header: "Connect-Content-Encoding: br\r\n"},
		{name: "timeout", method: "POST", path: service + "SearchUsers", contentType: "application/json", header: "Connect-Timeout-Ms: x\r\n"},
		{name: "bidi", method: "POST", path: service + "StreamUserUpdates", contentType: "application/connect+json"},
		{name: "reflection", method: "POST", path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", contentType: "application/connect+json"},
		{name: "GET", method: "GET", path: service + "GetUser?connect=v1&encoding=json&message=%7B%7D", contentType: "application/json"},
		{name: "probe", method: "GET", path: "/livez", contentType: "application/json"},
		{name: "probe", method: "GET", path: "/readyz", contentType: "application/json"},
		{name: "health", method: "POST", path: "/grpc.health.v1.Health/Check", contentType: "application/json"},
		{name: "100-continue", method: "POST", path: "/nowhere", contentType: "application/json", header: "Expect: 100-continue\r\n"},
	} {
		refused.body, refused.refused = json, true
		requests = append(requests, refused)
	}
	return requests
}

// handshakes has one handshake of TLS at a time: a server that is in a hurry waits for none that
// stands behind many.
var handshakes sync.Mutex

// dialHTTP1 connects to a server, over TLS where it speaks it.
func dialHTTP1(running *servertest.Server) (net.Conn, error) {
	handshakes.Lock()
	defer handshakes.Unlock()
	if address, secure := strings.CutPrefix(running.URL, "https://"); secure {
		return tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	}
	return net.Dial("tcp", strings.TrimPrefix(running.URL, "http://"))
}

// smuggle sends a request that ends in one way, and another one that creates a user.
func smuggle(running *servertest.Server, r rawRequest, end bodyEnd, email string) error {
	conn, err := dialHTTP1(running)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	create := rawRequest{method: "POST", path: "/user.v1.UserService/CreateUser", contentType: "application/json", header: "Connection: close\r\n", body: `{"email":"` + email + `","displayName":"Eve"}`}
	second := create.sized(len(create.body))
	reader := bufio.NewReader(conn)
	if end.halts {
		_, _ = io.WriteString(conn, end.bytes(r))
		if _, err := reader.Peek(1); err != nil && !errors.Is(err, io.EOF) {
			return err // The server waits for ever.
		}
		_, _ = io.WriteString(conn, second) // It may have been closed.
	} else {
		_, _ = io.WriteString(conn, end.bytes(r)+second) // It may have been closed.
	}
	if end.resets {
		return nil
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && end.leaves {
		_ = half.CloseWrite() // It may have been closed.
	}
	_, err = io.Copy(io.Discard, reader)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return nil
}

// What follows a request whose body was not read to a clean end is not executed, on
// no way on which a body can end.
func TestNothingIsExecutedAfterABrokenBody(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string]func(*server.Config){"plain": func(*server.Config) {}, "TLS": withTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := func(receiveTimeout time.Duration) *servertest.Server {
				return servertest.Start(t, func(config *server.Config) {
					configure(config)
					config.Reader = nearbyReader{newAskedReader()}
					config.MaxMessageBytes = 64 << 10
					config.ReceiveTimeout = receiveTimeout
				})
			}
			hasty, patient := start(4*time.Second), start(time.Hour) // What is whole is to be served however long that takes.
			type attempt struct {
				rawRequest
				bodyEnd
				email string
				on    *servertest.Server
			}
			var attempts []attempt
			var all sync.WaitGroup
			slots := make(chan struct{}, 64)
			for _, request := range rawRequests() {
				for _, end := range bodyEnds {
					if end.halts && request.patient() {
						continue
					}
					try := attempt{request, end, testEmail(len(attempts)), patient}
					if end.halts {
						try.on = hasty
					}
					attempts = append(attempts, try)
					slots <- struct{}{}
					all.Go(func() {
						defer func() { <-slots }()
						if err := smuggle(try.on, request, end, try.email); err != nil {
							t.Errorf("%s %s %s, %s: %v", request.name, request.path, request.contentType, end.name, err)
						}
					})
				}
			}
			all.Wait()
			if err := errors.Join(hasty.Shutdown(t.Context()), patient.Shutdown(t.Context())); err != nil { // Nothing is under way any more.
				t.Fatal(err)
			}
			for _, try := range attempts {
				_, err := try.on.Store.GetByEmail(t.Context(), try.email)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Fatal(err)
				}
				switch executed := err == nil; {
				case executed && !try.clean:
					t.Errorf("%s %s %s, %s: what follows was executed", try.rawRequest.name, try.path, try.contentType, try.bodyEnd.name)
				case !executed && try.clean && !try.refused:
					t.Errorf("%s %s, %s: the next request was not executed", try.path, try.contentType, try.bodyEnd.name)
				}
			}
		})
	}
}

// A body that comes byte by byte does not last for longer than a request may take,
// wherever it goes.
func TestBodyByteByByteEnds(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) { config.ReceiveTimeout = time.Second })
	var all sync.WaitGroup
	for _, request := range rawRequests() {
		if request.patient() {
			continue
		}
		all.Go(func() { // Not a test of its own: there is nothing to do but to wait, for all together.
			if ended, err := dribble(t.Context(), running, request); err != nil || ended > 30*time.Second {
				t.Errorf("%s %s %s ends after %v, error %v", request.name, request.path, request.contentType, ended, err)
			}
		})
	}
	all.Wait()
}

// dribble sends a body byte by byte until its connection is closed, and returns how
// long that has taken.
func dribble(ctx context.Context, running *servertest.Server, r rawRequest) (time.Duration, error) {
	conn, err := dialHTTP1(running)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	start := time.Now()
	if _, err := io.WriteString(conn, r.sized(100<<10)); err != nil {
		return 0, err
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, conn)
	}()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-closed:
			return time.Since(start), nil
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ticker.C:
			if time.Since(start) > time.Minute {
				return 0, errors.New("never ends")
			}
			_, _ = conn.Write([]byte{' '}) // Until it is closed.
		}
	}
}

// A stream of requests may be silent for longer than another request may take.
func TestStreamsOfRequestsMayBeSilent(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) { config.ReceiveTimeout = 100 * time.Millisecond })
	body, writer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, running.URL+"/user.v1.UserService/BatchCreateUsers", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+proto")
	go func() {
		_, _ = writer.Write(envelope(t, newUserRequest(1)))
		<-time.After(500 * time.Millisecond) // The silence that is meant.
		_, _ = writer.Write(envelope(t, newUserRequest(2)))
		_ = writer.Close()
	}()
	resp, err := servertest.HTTP1(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err := io.ReadAll(resp.Body); err != nil || bytes.Contains(answer, []byte("error")) {
		t.Errorf("answer %q, error %v", answer, err)
	}
	for i := 1; i <= 2; i++ {
		if _, err := running.Store.GetByEmail(t.Context(), testEmail(i)); err != nil {
			t.Error(err)
		}
	}
}
