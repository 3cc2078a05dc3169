package server_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

func TestUnknownTransport(t *testing.T) {
	t.Parallel()
	_, err := server.New(server.Config{Store: servertest.NewStore(t), HTTP2: "quick"})
	if err == nil || !strings.Contains(err.Error(), `not by "quick"`) {
		t.Errorf("error is %v", err)
	}
}

// atHand is a reader that has one user.
type atHand struct {
	server.Reader
	entry cache.Entry
	near  bool // It is in the near cache.
}

func (r *atHand) Lookup(context.Context, string, cache.Read) (cache.Entry, error) {
	return r.entry, nil
}

func (r *atHand) Cached(string, cache.Read) (cache.Entry, bool) { return r.entry, r.near }

// The server counts which way a call has taken. The answer is always the same.
func TestCallsTakeTheShortestWay(t *testing.T) {
	t.Parallel()
	user := store.User{ID: someID, Email: testEmail(1), DisplayName: testName(1), Version: 1}
	entry := cache.Entry{Data: encode(user), Version: 1, Found: true}
	for _, test := range []struct {
		name     string
		protocol protocol
		level    slog.Level
		far      bool
		control  string // The header Cache-Control.
		request  *userv1.GetUserRequest
		want     string
	}{
		{name: "at hand", protocol: grpcBinary, want: "inline"},
		{name: "at a version", protocol: grpcBinary, request: &userv1.GetUserRequest{UserId: someID, MinVersion: 1}, want: "inline"},
		{name: "not at hand", protocol: grpcBinary, far: true, want: "lane"},
		{name: "of the store", protocol: grpcBinary, control: "no-cache", want: "lane"},
		{name: "logged", protocol: grpcBinary, level: slog.LevelDebug, want: "lane"},
		{name: "JSON", protocol: grpcJSON, want: "inline"},
		{name: "Connect", protocol: connectRPC, want: "inline"},
		{name: "gRPC-Web", protocol: grpcWeb, want: "inline"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			running := servertest.Start(t, func(config *server.Config) {
				config.HTTP2, config.Reader = server.Engine, &atHand{entry: entry, near: !test.far}
				config.Logger = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: test.level}))
			})
			request := test.request
			if request == nil {
				request = &userv1.GetUserRequest{UserId: someID}
			}
			ctx, call := connect.NewClientContext(t.Context())
			if test.control != "" {
				call.RequestHeader().Set("Cache-Control", test.control)
			}
			got, err := running.Client(t, test.protocol.options...).GetUser(ctx, request)
			if err != nil {
				t.Fatal(err)
			}
			if got.GetUser().GetDisplayName() != user.DisplayName {
				t.Errorf("GetUser: %v", got)
			}
			if n := requests(t, running.Server, test.want); n != 1 {
				t.Errorf("%d calls went the way %q", n, test.want)
			}
		})
	}
}

// requests is how many requests have gone one way, as the metrics have it.
func requests(t *testing.T, running *server.Server, way string) int {
	t.Helper()
	scrape := httptest.NewRecorder()
	running.Admin().ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(scrape.Body.String()) {
		if count, found := strings.CutPrefix(line, `userd_http2_requests_total{way="`+way+`"} `); found {
			n, err := strconv.Atoi(strings.TrimSpace(count))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("metrics lack the way %q:\n%s", way, scrape.Body)
	return 0
}

// What a request's way is shows when it is here. No count goes down then: for Prometheus that is
// a server that has started anew, and all that it had counted comes a second time.
func TestCountsOfWaysNeverGoDown(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) { config.HTTP2 = server.Engine })
	conn, _ := dialRaw(t, running)
	conn.call(1, userv1connect.UserServiceGetUserProcedure)
	conn.must(conn.framer.WritePing(false, [8]byte{1}))
	awaitFrame(conn, func(ping *http2.PingFrame) bool { return ping.IsAck() }) // The header is there.
	ways := []string{"inline", "lane", "handler"}
	var before []int
	for _, way := range ways {
		before = append(before, requests(t, running.Server, way))
	}
	conn.send(1, envelope(t, &userv1.GetUserRequest{UserId: someID}))
	awaitFrame(conn, func(header *http2.HeadersFrame) bool { return header.StreamEnded() })
	sum := 0
	for i, way := range ways {
		now := requests(t, running.Server, way)
		sum += now
		if now < before[i] {
			t.Errorf("requests that went the way %q were %d and are %d", way, before[i], now)
		}
	}
	if sum != 1 {
		t.Errorf("one request is counted %d times", sum)
	}
}

// A server that speaks TLS does not speak HTTP/2 in the clear.
func TestTLSOnly(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, withTLS)
	conn, err := net.Dial("tcp", strings.TrimPrefix(running.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // The server may reset the connection.
	if len(answer) > 0 {
		t.Errorf("answer is %q, want none", answer)
	}
}

// lastPing comes after what its answer tells of.
var lastPing = [8]byte{'l', 'a', 's', 't'}

// When as many connections are open as may be, one that is busy stays, and another one
// does not get in.
func TestBusyConnectionStays(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) { config.MaxConnections = 1 })
	first, _ := dialRaw(t, running)
	first.call(1, "/user.v1.UserService/StreamUserUpdates")
	first.must(first.framer.WritePing(false, lastPing))
	awaitFrame(first, func(frame *http2.PingFrame) bool { return frame.IsAck() }) // The call has begun.
	second, err := net.Dial("tcp", strings.TrimPrefix(running.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if n, err := second.Read(make([]byte, 1)); err == nil {
		t.Errorf("a second connection is answered with %d bytes", n)
	}
	if err := first.conn.Close(); err != nil {
		t.Fatal(err)
	}
	for { // Until the server has noticed.
		if resp, err := servertest.HTTP1(t).Get(running.URL + "/livez"); err == nil {
			_ = resp.Body.Close()
			return
		}
	}
}

// When as many connections are open as may be, one that is idle makes room for the next,
// whatever they speak.
func TestIdleConnectionMakesRoom(t *testing.T) {
	t.Parallel()
	clients := map[string]func(testing.TB) *http.Client{"HTTP/1.1": servertest.HTTP1, "HTTP/2": servertest.HTTP2}
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, secure := range []bool{false, true} {
			running := servertest.Start(t, func(config *server.Config) {
				if secure {
					withTLS(config)
				}
				config.HTTP2, config.MaxConnections = transport, 8
			})
			for name, client := range clients {
				t.Run(fmt.Sprint(name, " ", transport, " TLS ", secure), func(t *testing.T) {
					for range 24 { // Each has a connection that stays open.
						_, body := get(t, client(t), running.URL+"/livez")
						if body != "ok\n" {
							t.Errorf("answer is %q", body)
						}
					}
				})
			}
		}
	}
}

// A peer over HTTP/2 whose idle connection makes room is told first.
func TestIdleHTTP2ConnectionIsTold(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) {
		config.HTTP2, config.MaxConnections = server.Engine, 1
	})
	first, _ := dialRaw(t, running)
	first.must(first.framer.WritePing(false, lastPing))
	awaitFrame(first, func(frame *http2.PingFrame) bool { return frame.IsAck() })
	get(t, servertest.HTTP1(t), running.URL+"/livez")
	gone := awaitFrame(first, func(*http2.GoAwayFrame) bool { return true })
	if gone.ErrCode != http2.ErrCodeNo {
		t.Errorf("GOAWAY has the code %v", gone.ErrCode)
	}
}
