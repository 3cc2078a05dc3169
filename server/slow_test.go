package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

// endlessStore has users without end.
type endlessStore struct{ store.Store }

func (endlessStore) Capacity() store.Capacity { return store.Capacity{} }

func (endlessStore) Identity() store.Identity { return store.Identity{} }

func (endlessStore) Ping(context.Context) error { return nil }

func (endlessStore) List(_ context.Context, query store.Query) (store.Page, error) {
	users := make([]store.User, query.Limit)
	for i := range users {
		users[i] = store.User{ID: someID, Email: testEmail(i), DisplayName: testName(i), Version: 1}
	}
	return store.PageOf(users, query.Limit), nil
}

// pipes is a listener in memory, whose connections know the clock of a test.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return new(net.UnixAddr) }

func (p *pipes) dial() net.Conn {
	client, conn := net.Pipe()
	p.conns <- conn
	return client
}

// A stream that nobody reads ends, and does not keep the server from stopping.
func TestUnreadStreamEnds(t *testing.T) {
	for name, stopReading := range map[string]func(t *testing.T, conn net.Conn){
		"HTTP/1.1": func(t *testing.T, conn net.Conn) {
			body := envelope(t, &userv1.ListUsersRequest{All: true})
			_, err := fmt.Fprintf(conn, "POST /user.v1.UserService/ListUsers HTTP/1.1\r\nHost: test\r\nContent-Type: application/connect+proto\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1<<10)); err != nil {
				t.Fatal(err)
			}
		},
		"HTTP/2": func(t *testing.T, conn net.Conn) {
			raw, _ := newRawConn(t, conn, "test")
			raw.call(1, "/user.v1.UserService/ListUsers")
			raw.must(raw.framer.WriteData(1, true, envelope(t, &userv1.ListUsersRequest{All: true})))
			// Frames are read, but the window of the stream stays full.
			awaitFrame(raw, func(frame http2.Frame) bool {
				switch frame := frame.(type) {
				case *http2.HeadersFrame:
					return frame.StreamEnded()
				case *http2.RSTStreamFrame: // All that net/http has for it.
					return true
				case *http2.PingFrame:
					raw.must(raw.framer.WritePing(true, frame.Data))
				}
				return false
			})
			go func() { _, _ = io.Copy(io.Discard, conn) }() // The last frames of the connection.
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				running, err := server.New(server.Config{Store: endlessStore{}, HTTP2: servertest.HTTP2Transport(), AllowedHosts: []string{"*"}})
				if err != nil {
					t.Fatal(err)
				}
				listener := newPipes()
				served := make(chan error, 1)
				go func() { served <- running.Serve(listener) }()
				conn := listener.dial()
				defer conn.Close()
				start := time.Now()
				stopReading(t, conn)
				if err := running.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if err := <-served; err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took < 25*time.Second || took > 65*time.Second {
					t.Errorf("stream ends after %v, want about 30 s, with net/http a minute", took)
				}
				scrape := httptest.NewRecorder()
				running.Admin().ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
				if !strings.Contains(scrape.Body.String(), `rpc_method="user.v1.UserService/ListUsers",rpc_response_status_code="RESOURCE_EXHAUSTED"`) {
					t.Errorf("stream does not end as that of a slow reader:\n%s", scrape.Body)
				}
			})
		})
	}
}

// Whoever does not read an answer over HTTP/1.1 does not keep its connection, and all that
// waits for it, for ever.
func TestUnreadAnswerEnds(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"service": listRequest, "admin": readyRequest,
		"refused": "GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := startInMemory(t, 0)
				listener := s.service
				if name == "admin" {
					listener = s.admin
				}
				conn := listener.dial()
				if _, err := io.WriteString(conn, request); err != nil {
					t.Fatal(err)
				}
				time.Sleep(70 * time.Second) // Twice as long as what is sent may wait, and a little more.
				if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("later %d bytes of the answer come, %v", n, err)
				}
				conn.Close()
				s.drain(t.Context())
				s.awaitEnd(t)
			})
		})
	}
}

// Over HTTP/2 it does not keep its stream, whose window is full.
func TestUnreadAnswerOverHTTP2Ends(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"application/grpc", "application/json"} {
		t.Run(contentType, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := startInMemory(t, 0)
				conn := s.service.dial()
				raw, _ := newRawConn(t, conn, "test", http2.Setting{ID: http2.SettingInitialWindowSize})
				start := time.Now()
				block := raw.fields(":method", "POST", ":scheme", "http", ":authority", "test", ":path", "/user.v1.UserService/SearchUsers",
					"content-type", contentType, "te", "trailers")
				raw.must(raw.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true}))
				message := []byte("{}")
				if contentType == "application/grpc" {
					message = envelope(t, &userv1.SearchUsersRequest{})
				}
				raw.must(raw.framer.WriteData(1, true, message))
				awaitFrame(raw, func(frame http2.Frame) bool {
					if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() {
						raw.must(raw.framer.WritePing(true, ping.Data))
					}
					_, reset := frame.(*http2.RSTStreamFrame)
					return reset || time.Since(start) > 10*time.Minute
				})
				if took := time.Since(start); took > 65*time.Second {
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
