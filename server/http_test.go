package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectgzip"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/server/telemetry"
	"github.com/example/userd/store"
)

func TestProtocols(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		configure func(*server.Config)
		client    func(testing.TB) *http.Client
		proto     string
		protocols []protocol
	}{
		"HTTP/1.1": {nil, servertest.HTTP1, "HTTP/1.1", []protocol{connectRPC, connectJSON, grpcWeb}},
		"h2c":      {nil, servertest.HTTP2, "HTTP/2.0", []protocol{connectRPC, connectJSON, grpcWeb, grpcBinary, grpcJSON}},
		"TLS 1.1":  {withTLS, servertest.HTTP1, "HTTP/1.1", []protocol{connectRPC, connectJSON, grpcWeb}},
		"TLS h2":   {withTLS, servertest.HTTP2, "HTTP/2.0", []protocol{connectRPC, connectJSON, grpcWeb, grpcBinary, grpcJSON}},
	} {
		for _, protocol := range test.protocols {
			t.Run(name+" "+protocol.name, func(t *testing.T) {
				t.Parallel()
				running := servertest.Start(t, test.configure)
				client := running.ClientOf(test.client(t), protocol.options...)
				ctx, call := connect.NewClientContext(t.Context())
				created, err := client.CreateUser(ctx, newUserRequest(1))
				if err != nil {
					t.Fatal(err)
				}
				info := call.TransportInfo.(*connecthttp.ClientInfo)
				if info.ResponseProto() != test.proto {
					t.Errorf("protocol is %s, want %s", info.ResponseProto(), test.proto)
				}
				users, _, err := list(t.Context(), client, &userv1.ListUsersRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]*userv1.User{created.GetUser()}, users, protocmp.Transform()); diff != "" {
					t.Errorf("list (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// withTLS makes a server speak TLS, with the certificate of package httptest.
func withTLS(config *server.Config) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	config.TLS = &tls.Config{Certificates: certified.TLS.Certificates}
}

func TestALPN(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, withTLS)
	for want, offered := range map[string][]string{
		"h2": {"http/1.1", "h2"}, "http/1.1": {"http/1.1"}, "": nil,
	} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(running.URL, "https://"), &tls.Config{NextProtos: offered, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != want {
			t.Errorf("of %q the server takes %q, want %q", offered, got, want)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	ids := fill(t, running.Store, 100)
	for _, encoding := range []string{"gzip", "zstd"} {
		for _, protocol := range []protocol{grpcBinary, grpcWeb, connectRPC, connectJSON} {
			t.Run(encoding+" "+protocol.name, func(t *testing.T) {
				t.Parallel()
				client := running.Client(t, protocol.with(
					connecthttp.WithCompressors(zstdCompression{}, connectgzip.New()),
					connecthttp.WithSendCompression(encoding))...)
				for count, compressed := range map[int]bool{1: false, 100: true} { // Small answers are not worth it.
					ctx, call := connect.NewClientContext(t.Context())
					res, err := client.BatchGetUsers(ctx, &userv1.BatchGetUsersRequest{UserIds: ids[:count]})
					if err != nil {
						t.Fatal(err)
					}
					if len(res.GetUsers()) != count {
						t.Errorf("answer has %d users, want %d", len(res.GetUsers()), count)
					}
					if call.SendStats.CompressedSize == 0 || compressed != (call.ReceiveStats.CompressedSize > 0) {
						t.Errorf("%d users: request and answer are %+v and %+v", count, call.SendStats, call.ReceiveStats)
					}
					if compressed && call.ResponseEncoding != encoding {
						t.Errorf("answer is %s, want %s", call.ResponseEncoding, encoding)
					}
				}
			})
		}
	}
}

// zstdCompression is zstd with the settings of its library.
type zstdCompression struct{}

func (zstdCompression) Name() string { return connect.CompressionNameZstd }

func (zstdCompression) Compress(dst io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(dst) }

func (zstdCompression) Decompress(src io.Reader) (io.ReadCloser, error) {
	reader, err := zstd.NewReader(src)
	if err != nil {
		return nil, err
	}
	return reader.IOReadCloser(), nil
}

// get sends a GET with headers, given in pairs, and returns the answer with its
// body read.
func get(tb testing.TB, client *http.Client, url string, headers ...string) (*http.Response, string) {
	tb.Helper()
	return do(tb, client, http.MethodGet, url, "", headers...)
}

func do(tb testing.TB, client *http.Client, method, url, body string, headers ...string) (*http.Response, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res, string(answer)
}

// getURL is the URL of a Connect GET.
func getURL(running *servertest.Server, method, message string) string {
	query := url.Values{"connect": {"v1"}, "encoding": {"json"}, "message": {message}}
	return running.URL + "/user.v1.UserService/" + method + "?" + query.Encode()
}

func TestConditionalGet(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]string{
		"GetUser":       `{"userId": "` + someID + `"}`,
		"BatchGetUsers": `{"userIds": ["` + someID + `", "` + nobody + `"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			running := servertest.Start(t, nil)
			client := servertest.HTTP1(t)
			url := getURL(running, name, message)
			nobody, _ := get(t, client, url)
			req := newUserRequest(1)
			req.UserId = someID
			create(t, running.Client(t), req)

			first, body := get(t, client, url)
			tag := first.Header.Get("Etag")
			if first.StatusCode != http.StatusOK || !strings.Contains(body, someID) {
				t.Errorf("answer is %s: %s", first.Status, body)
			}
			if !strings.HasPrefix(tag, `W/"`) || tag == nobody.Header.Get("Etag") {
				t.Errorf("entity tags are %q of nobody, then %q", nobody.Header.Get("Etag"), tag)
			}
			if got := first.Header.Get("Cache-Control"); got != "private, no-cache" {
				t.Errorf("Cache-Control is %q", got)
			}
			if got := strings.Join(first.Header.Values("Vary"), ", "); !strings.Contains(got, "Accept-Encoding") || !strings.Contains(got, "Authorization") {
				t.Errorf("Vary is %q", got)
			}
			for _, match := range []string{tag, strings.TrimPrefix(tag, "W/"), `"other", ` + tag, "*"} {
				unmodified, body := get(t, client, url, "If-None-Match", match)
				if unmodified.StatusCode != http.StatusNotModified || body != "" || unmodified.Header.Get("Etag") != tag {
					t.Errorf("If-None-Match: %s: answer is %s with %s: %s", match, unmodified.Status, unmodified.Header.Get("Etag"), body)
				}
			}
			_, err := running.Client(t).UpdateUser(t.Context(), &userv1.UpdateUserRequest{
				Update: &userv1.UserUpdate{UserId: someID, AddRoles: []string{"writer"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			changed, body := get(t, client, url, "If-None-Match", tag)
			if changed.StatusCode != http.StatusOK || changed.Header.Get("Etag") == tag || !strings.Contains(body, "writer") {
				t.Errorf("after a change: answer is %s with %s: %s", changed.Status, changed.Header.Get("Etag"), body)
			}
		})
	}
}

// That one of two users is there is another answer than that the other one is.
func TestConditionalGetOfOthers(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	rpcs, client := running.Client(t), servertest.HTTP1(t)
	url := getURL(running, "BatchGetUsers", `{"userIds": ["`+someID+`", "`+nobody+`"]}`)
	req := newUserRequest(1)
	req.UserId = someID
	create(t, rpcs, req)
	first, _ := get(t, client, url)
	if _, err := rpcs.DeleteUser(t.Context(), &userv1.DeleteUserRequest{UserId: someID}); err != nil {
		t.Fatal(err)
	}
	req.UserId = nobody
	create(t, rpcs, req)
	second, body := get(t, client, url, "If-None-Match", first.Header.Get("Etag"))
	if second.StatusCode != http.StatusOK || !strings.Contains(body, `"id":"`+nobody) {
		t.Errorf("answer is %s: %s", second.Status, body)
	}
}

// Programs of Windows write JSON with a byte order mark before it, and curl sends their files.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for version, client := range map[string]*http.Client{"HTTP/1.1": servertest.HTTP1(t), "HTTP/2": servertest.HTTP2(t)} {
		for method, message := range map[string]string{
			"GetUser":     `{"userId": "` + nobody + `"}`,
			"SearchUsers": `{}`,
			"CreateUser":  `{"userId": "` + someID + `", "email": "` + testEmail(1) + `", "displayName": "Ada"}`,
		} {
			res, body := do(t, client, http.MethodPost, running.URL+"/user.v1.UserService/"+method, "\uFEFF"+message, "Content-Type", "application/json")
			if res.StatusCode != http.StatusOK {
				t.Errorf("%s over %s: %s: %s", method, version, res.Status, body)
			}
		}
	}
}

// What is served by GET is by HEAD, too, and says the same, without the body.
func TestHead(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	req := newUserRequest(1)
	req.UserId = someID
	create(t, running.Client(t), req)
	for version, client := range map[string]*http.Client{"HTTP/1.1": servertest.HTTP1(t), "HTTP/2": servertest.HTTP2(t)} {
		for _, url := range []string{
			getURL(running, "GetUser", `{"userId": "`+someID+`"}`), getURL(running, "GetUser", `{"userId": "`+nobody+`"}`),
			getURL(running, "BatchGetUsers", `{"userIds": ["`+someID+`"]}`), getURL(running, "SearchUsers", `{}`),
			running.URL + "/user.v1.UserService/CreateUser", running.URL + "/user.v1.UserService/ListUsers", running.URL + "/livez",
		} {
			whole, text := get(t, client, url)
			head, body := do(t, client, http.MethodHead, url, "")
			for _, name := range []string{"Date", telemetry.RequestIDHeader} {
				whole.Header.Del(name)
				head.Header.Del(name)
			}
			if text == "" || body != "" || head.StatusCode != whole.StatusCode || head.ContentLength != whole.ContentLength || !cmp.Equal(head.Header, whole.Header) {
				t.Errorf("HEAD of %s over %s: %s, %d bytes, %v; GET: %s, %d bytes, %v", url, version,
					head.Status, head.ContentLength, head.Header, whole.Status, whole.ContentLength, whole.Header)
			}
			if tag := whole.Header.Get("Etag"); tag != "" {
				if refused, _ := do(t, client, http.MethodPut, url, ""); refused.Header.Get("Allow") != "GET, HEAD, POST" {
					t.Errorf("PUT over %s allows %q", version, refused.Header.Get("Allow"))
				}
				if unmodified, _ := do(t, client, http.MethodHead, url, "", "If-None-Match", tag); unmodified.StatusCode != http.StatusNotModified {
					t.Errorf("HEAD of what is known over %s: %s", version, unmodified.Status)
				}
			}
		}
	}
}

// Only what has no side effects, and no email in it, is served by GET.
func TestNoGet(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for _, method := range []string{"GetUserByEmail", "SearchUsers", "CreateUser", "DeleteUser", "ListUsers"} {
		res, text := get(t, servertest.HTTP1(t), getURL(running, method, "{}"))
		if res.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(text, "POST") {
			t.Errorf("%s: answer is %s, want 405: %q", method, res.Status, text)
		}
	}
}

// Whoever opens in a browser what is called, or mistypes a path, is told what to do.
func TestPathsThatAreNotCalled(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/user.v1.UserService/GetUser":   {http.StatusUnsupportedMediaType, "called by POST"},
		"/user.v1.UserService/ListUsers": {http.StatusMethodNotAllowed, "called by POST"},
		"/user.v1.UserServic/GetUser":    {http.StatusNotFound, "/user.v1.UserService/"},
		"/users":                         {http.StatusNotFound, "/user.v1.UserService/"},
	} {
		for version, client := range map[string]*http.Client{"HTTP/1.1": servertest.HTTP1(t), "HTTP/2": servertest.HTTP2(t)} {
			res, text := get(t, client, running.URL+path)
			if res.StatusCode != want.status || !strings.Contains(text, want.text) {
				t.Errorf("%s over %s: %s: %q", path, version, res.Status, text)
			}
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	down := func(context.Context, string) error { return fmt.Errorf("dial %s: %w", private, store.ErrUnavailable) }
	up := func(context.Context, string) error { return nil }
	for name, test := range map[string]struct {
		store   func(context.Context, string) error
		drained bool
		ready   int
		health  servingStatus
	}{
		"ready":      {store: up, ready: http.StatusOK, health: serving},
		"store down": {store: down, ready: http.StatusServiceUnavailable, health: notServing},
		"draining":   {store: up, drained: true, ready: http.StatusServiceUnavailable, health: notServing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			running := startFaulty(t, test.store)
			if test.drained { // It has no listener then: its handlers are called directly.
				if err := running.Shutdown(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for _, handler := range []http.Handler{running.Handler(), running.Admin()} {
				live := httptest.NewRecorder()
				handler.ServeHTTP(live, httptest.NewRequest(http.MethodGet, "/livez", nil))
				ready := httptest.NewRecorder()
				handler.ServeHTTP(ready, httptest.NewRequest(http.MethodGet, "/readyz", nil))
				if live.Code != http.StatusOK || ready.Code != test.ready || strings.Contains(ready.Body.String(), private) {
					t.Errorf("/livez is %d, /readyz is %d: %s", live.Code, ready.Code, ready.Body)
				}
				for _, ask := range []struct {
					method, path string
					want         int
				}{
					{http.MethodHead, "/livez", http.StatusOK},
					{http.MethodHead, "/readyz", test.ready},
					{http.MethodOptions, "/livez", http.StatusOK}, // HAProxy asks so.
					{http.MethodOptions, "/readyz", test.ready},
					{http.MethodOptions, "/", test.ready},
					{http.MethodOptions, "*", test.ready},
					{http.MethodPost, "/readyz", http.StatusMethodNotAllowed},
				} {
					answer := httptest.NewRecorder()
					handler.ServeHTTP(answer, httptest.NewRequest(ask.method, ask.path, nil))
					if hasAllow := answer.Header().Get("Allow") != ""; answer.Code != ask.want || hasAllow != (ask.method != http.MethodHead) {
						t.Errorf("%s %s is %d with %v, want %d", ask.method, ask.path, answer.Code, answer.Header(), ask.want)
					}
				}
			}
			for _, service := range []string{"", "user.v1.UserService"} {
				client := &http.Client{Transport: handlerTransport{running.Handler()}}
				if got, err := health(t.Context(), client, "http://test", service); got != test.health {
					t.Errorf("health of %q is %v, error %v, want %v", service, got, err, test.health)
				}
			}
			list := httptest.NewRequest(http.MethodPost, "/grpc.health.v1.Health/List", strings.NewReader("{}"))
			list.Header.Set("Content-Type", "application/json")
			listed := httptest.NewRecorder()
			running.Handler().ServeHTTP(listed, list)
			var all struct {
				Statuses map[string]struct{ Status string }
			}
			want := map[servingStatus]string{serving: "SERVING", notServing: "NOT_SERVING"}[test.health]
			if err := json.Unmarshal(listed.Body.Bytes(), &all); err != nil || len(all.Statuses) != 2 ||
				all.Statuses[""].Status != want || all.Statuses["user.v1.UserService"].Status != want {
				t.Errorf("health of all is %s, error %v, want %s", listed.Body, err, want)
			}
		})
	}
}

// OPTIONS of "*", which the documentation of HAProxy has as an example of a check, is answered by
// net/http itself, unless it is told not to.
func TestOptionsOfTheWholeServer(t *testing.T) {
	t.Parallel()
	running := startFaulty(t, func(context.Context, string) error { return store.ErrUnavailable })
	for name, client := range map[string]*http.Client{"HTTP/1.1": servertest.HTTP1(t), "HTTP/2": servertest.HTTP2(t)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, running.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = "*"
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: a server that is not ready answers %s", name, resp.Status)
		}
	}
}

// slowPing is a store that takes its time to say that it is there.
type slowPing struct {
	endlessStore
	pings atomic.Int64
}

func (s *slowPing) Ping(context.Context) error {
	s.pings.Add(1)
	time.Sleep(readyWithin / 4)
	return nil
}

// readyWithin is how long a probe may take.
const readyWithin = 2 * time.Second

// Probes need no credentials. However many there are, the store is asked once at a time.
func TestProbesShareQuestions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := new(slowPing)
		running, err := server.New(server.Config{Store: users, HTTP2: servertest.HTTP2Transport(), AllowedHosts: []string{"*"}})
		if err != nil {
			t.Fatal(err)
		}
		var probes sync.WaitGroup
		for range 100 {
			probes.Go(func() {
				ready := httptest.NewRecorder()
				running.Handler().ServeHTTP(ready, httptest.NewRequest(http.MethodGet, "/readyz", nil))
				if ready.Code != http.StatusOK {
					t.Errorf("/readyz is %d: %s", ready.Code, ready.Body)
				}
			})
			probes.Go(func() {
				client := &http.Client{Transport: handlerTransport{running.Handler()}}
				if got, err := health(t.Context(), client, "http://test", ""); got != serving {
					t.Errorf("health is %v, error %v", got, err)
				}
			})
		}
		probes.Wait()
		if pings := users.pings.Load(); pings > 2 {
			t.Errorf("the store is asked %d times", pings)
		}
		if err := running.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// handlerTransport calls a handler without a network.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, req)
	return answer.Result(), nil
}

// health calls grpc.health.v1, whose messages are encoded like these wrappers.
func health(ctx context.Context, client *http.Client, url, service string, options ...connecthttp.Option) (servingStatus, error) {
	var status wrapperspb.Int32Value
	check := connect.Spec{Procedure: "/grpc.health.v1.Health/Check"}
	err := connect.NewClient(connecthttp.NewTransport(client, url, options...)).CallUnary(ctx, check, wrapperspb.String(service), &status)
	return servingStatus(status.GetValue()), err
}

// servingStatus is grpc.health.v1.HealthCheckResponse.ServingStatus.
type servingStatus int32

const (
	serving        servingStatus = 1
	notServing     servingStatus = 2
	serviceUnknown servingStatus = 3
)

func TestHealthOverGRPC(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for _, service := range []string{"", "user.v1.UserService"} {
		if got, err := health(t.Context(), servertest.HTTP2(t), running.URL, service, connecthttp.WithGRPC()); got != serving {
			t.Errorf("health of %q is %v, error %v", service, got, err)
		}
	}
	for _, service := range []string{"user.v1", "grpc.health.v1.Health", "hush"} {
		if _, err := health(t.Context(), servertest.HTTP2(t), running.URL, service, connecthttp.WithGRPC()); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("health of %q: error is %v, want NOT_FOUND", service, err)
		}
	}
	var all emptypb.Empty
	list := connect.Spec{Procedure: "/grpc.health.v1.Health/List"}
	client := connect.NewClient(connecthttp.NewTransport(servertest.HTTP2(t), running.URL, connecthttp.WithGRPC()))
	if err := client.CallUnary(t.Context(), list, &emptypb.Empty{}, &all); err != nil {
		t.Errorf("List: %v", err)
	}
	statuses := all.ProtoReflect().GetUnknown() // Two entries of a map from texts to messages of a number.
	for _, entry := range []string{"\x0a\x06\x0a\x00\x12\x02\x08\x01", "\x0a\x19\x0a\x13user.v1.UserService\x12\x02\x08\x01"} {
		if !bytes.Contains(statuses, []byte(entry)) {
			t.Errorf("List: there is no %q in %q", entry, statuses)
		}
	}
	resp, err := http.Post(running.URL+"/grpc.health.v1.Health/Check", "application/json", strings.NewReader(`{"service": "user.v1.UserService"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != `{"status":"SERVING"}`+"\n" {
		t.Errorf("as JSON it is %q, error %v", body, err)
	}
}

// watchHealth watches the health of a service.
func watchHealth(t *testing.T, running *servertest.Server, service string) func() (servingStatus, error) {
	t.Helper()
	watch := connect.Spec{Procedure: "/grpc.health.v1.Health/Watch", StreamType: connect.StreamTypeServer}
	client := connect.NewClient(connecthttp.NewTransport(servertest.HTTP2(t), running.URL, connecthttp.WithGRPC()))
	stream, err := client.CallServerStream(t.Context(), watch, wrapperspb.String(service))
	if err != nil {
		t.Fatal(err)
	}
	return func() (servingStatus, error) {
		var status wrapperspb.Int32Value
		err := stream.Receive(&status)
		return servingStatus(status.GetValue()), err
	}
}

func TestHealthIsWatched(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	running := startFaulty(t, func(context.Context, string) error {
		if down.Load() {
			return store.ErrUnavailable
		}
		return nil
	})
	known, unknown := watchHealth(t, running, "user.v1.UserService"), watchHealth(t, running, "hush")
	for _, want := range []servingStatus{serving, notServing, serving} {
		down.Store(want == notServing)
		if got, err := known(); got != want {
			t.Fatalf("health is %v, error %v, want %v", got, err, want)
		}
	}
	if got, err := unknown(); got != serviceUnknown {
		t.Errorf("health of a service that is not there is %v, error %v", got, err)
	}
	if err := running.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := known(); got != notServing {
		t.Errorf("health of a server that stops is %v, error %v", got, err)
	}
	if _, err := known(); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the watch ends with %v", err)
	}
}

func TestReflection(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for _, version := range []string{"v1", "v1alpha"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			client := changing(servertest.HTTP2(t), func(req *http.Request) {
				req.URL.Path = "/grpc.reflection." + version + ".ServerReflection/ServerReflectionInfo"
			})
			transport := connecthttp.NewTransport(client, running.URL, connecthttp.WithGRPC())
			stream := grpcreflect.NewClient(connect.NewClient(transport)).NewStream(t.Context())
			defer stream.Close()
			services, err := stream.ListServices()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(services, "user.v1.UserService") || !slices.Contains(services, "grpc.health.v1.Health") {
				t.Errorf("services are %v", services)
			}
			if _, err := stream.FileContainingSymbol("grpc.health.v1.Health.Watch"); err != nil {
				t.Error(err)
			}
			files, err := stream.FileContainingSymbol("user.v1.UserService.GetUser")
			if err != nil {
				t.Fatal(err)
			}
			if len(files) == 0 || files[0].GetName() != "user/v1/user_service.proto" {
				t.Errorf("%d files", len(files))
			}
		})
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const allowed, other = "https://app.example.com", "https://evil.example.com"
	running := servertest.Start(t, func(config *server.Config) { config.CORSOrigins = []string{allowed} })
	closed := servertest.Start(t, nil)
	client := servertest.HTTP1(t)
	for name, test := range map[string]struct {
		running *servertest.Server
		origin  string
		want    string
	}{
		"allowed":        {running, allowed, allowed},
		"other":          {running, other, ""},
		"not configured": {closed, allowed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := test.running.URL + "/user.v1.UserService/CreateUser"
			preflight, _ := do(t, client, http.MethodOptions, url, "", "Origin", test.origin,
				"Access-Control-Request-Method", "POST",
				"Access-Control-Request-Headers", "authorization,connect-protocol-version,content-type,grpc-timeout,x-grpc-web,x-request-id,x-user-agent")
			answer, _ := do(t, client, http.MethodPost, url, "{}", "Origin", test.origin, "Content-Type", "application/json")
			for _, res := range []*http.Response{preflight, answer} {
				if got := res.Header.Get("Access-Control-Allow-Origin"); got != test.want {
					t.Errorf("Access-Control-Allow-Origin is %q, want %q", got, test.want)
				}
				if got := res.Header.Get("Access-Control-Allow-Credentials"); got != "" {
					t.Errorf("Access-Control-Allow-Credentials is %q", got)
				}
			}
			if test.want == "" {
				return
			}
			if got := preflight.Header.Get("Access-Control-Allow-Methods"); got != "POST" {
				t.Errorf("Access-Control-Allow-Methods is %q", got)
			}
			if got := preflight.Header.Get("Access-Control-Allow-Headers"); !strings.Contains(got, "x-grpc-web") {
				t.Errorf("Access-Control-Allow-Headers is %q", got)
			}
			if got := preflight.Header.Get("Access-Control-Max-Age"); got != "7200" {
				t.Errorf("Access-Control-Max-Age is %q", got)
			}
			for _, header := range []string{"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Etag", "Next-Page-Token"} {
				if got := answer.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, header) {
					t.Errorf("Access-Control-Expose-Headers is %q, without %s", got, header)
				}
			}
		})
	}
}

func TestCORSRefusesUnknownHeaders(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) { config.CORSOrigins = []string{"*"} })
	res, _ := do(t, servertest.HTTP1(t), http.MethodOptions, running.URL+"/user.v1.UserService/CreateUser", "",
		"Origin", "https://app.example.com", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-hush")
	if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("Access-Control-Allow-Origin is %q", got)
	}
}
