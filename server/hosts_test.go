package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// localHosts are answered without being allowed, on a connection over loopback.
var localHosts = map[string]bool{
	"localhost": true, "localhost:1234": true, "LocalHost:8080": true, "localhost.": true, "localhost.:8080": true,
	"app.localhost": true, "127.0.0.1": true, "127.0.0.1:1": true, "127.1.2.3": true,
	"[::1]": true, "[::1]:8080": true, "[::ffff:127.0.0.1]:8080": true,
	"127.0.0.1:8080,127.0.0.1:8081": true, "[::1]:8080,localhost": true, // As gRPC has it.

	"evil.example": false, "evil.example:8080": false, "localhost.evil.example": false, "evillocalhost": false,
	"127.0.0.1.evil.example": false, "127.0.0.1.": true, "users.example.com": false, "userd": false,
	"192.0.2.1": false, "0.0.0.0": false, "[2001:db8::1]:8080": false, "::1": false, ".localhost": false,
	"127.0.0.1,evil.example": false, "evil.example,localhost": false, "127.0.0.1:8080,192.0.2.1:8080": false,
}

// hostWay is a way in which a host can come to a server.
type hostWay struct {
	transport server.Transport
	client    func(testing.TB) *http.Client
	configure func(*server.Config)
}

// start starts a server for it.
func (w hostWay) start(t *testing.T) *servertest.Server {
	t.Helper()
	return servertest.Start(t, func(config *server.Config) {
		config.HTTP2 = w.transport
		if w.configure != nil {
			w.configure(config)
		}
	})
}

var hostWays = map[string]hostWay{
	"HTTP/1.1":          {server.Engine, servertest.HTTP1, nil},
	"HTTP/1.1 on std":   {server.Std, servertest.HTTP1, nil},
	"h2c":               {server.Engine, servertest.HTTP2, nil},
	"h2c on std":        {server.Std, servertest.HTTP2, nil},
	"TLS 1.1":           {server.Engine, servertest.HTTP1, withTLS},
	"TLS h2":            {server.Engine, servertest.HTTP2, withTLS},
	"TLS h2 on std":     {server.Std, servertest.HTTP2, withTLS},
	"HTTP/1.1 on admin": {server.Engine, servertest.HTTP1, nil},
}

func TestOnlyAllowedHostsAreAnswered(t *testing.T) {
	t.Parallel()
	for way, test := range hostWays {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			running := test.start(t)
			url := running.URL + "/openapi.json"
			if strings.HasSuffix(way, "admin") {
				admin := httptest.NewServer(running.Admin())
				t.Cleanup(admin.Close)
				url = admin.URL + "/metrics"
			}
			client := test.client(t)
			for host, allowed := range localHosts {
				want := http.StatusMisdirectedRequest
				if allowed {
					want = http.StatusOK
				}
				if got, body := getFor(t, client, url, host); got != want {
					t.Errorf("%s: status %d, want %d: %s", host, got, want, body)
				}
			}
		})
	}
}

// getFor sends a GET for a host to where url points, with a misleading header.
func getFor(t *testing.T, client *http.Client, url, host string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("X-Forwarded-Host", "localhost")
	req.Header.Set("Forwarded", "host=localhost")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	return resp.StatusCode, string(text)
}

// Load balancers ask for a name of their own: Envoy for that of its cluster, nginx for that of its
// upstream. A page whose host points here learns no more from a probe than they.
func TestProbesAreAnsweredForAnyHost(t *testing.T) {
	t.Parallel()
	for way, test := range hostWays {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			running := test.start(t)
			client, url := test.client(t), running.URL
			if strings.HasSuffix(way, "admin") {
				admin := httptest.NewServer(running.Admin())
				t.Cleanup(admin.Close)
				url = admin.URL
			}
			for path, want := range map[string]int{
				"/livez": http.StatusOK, "/readyz": http.StatusOK,
				"/": http.StatusMisdirectedRequest, "/metrics": http.StatusMisdirectedRequest, "/livez/": http.StatusMisdirectedRequest,
				"/console/": http.StatusMisdirectedRequest, "/grpc.health.v1.Health/Nothing": http.StatusMisdirectedRequest,
			} {
				if got, body := getFor(t, client, url+path, "cluster"); got != want || got == http.StatusOK && body != "ok\n" {
					t.Errorf("%s: status %d, want %d: %s", path, got, want, body)
				}
			}
			if url != running.URL {
				return
			}
			client = changing(client, func(req *http.Request) { req.Host = "cluster" })
			for range 2 { // The second time the server has seen the header before.
				if status, err := health(t.Context(), client, url, ""); err != nil || status != serving {
					t.Errorf("health is %v, error %v", status, err)
				}
				_, err := running.ClientOf(client).GetUser(t.Context(), &userv1.GetUserRequest{UserId: "00000000-0000-4000-8000-000000000001"})
				checkError(t, err, failure{code: connect.CodePermissionDenied, reason: userv1.Reason_REASON_PERMISSION_DENIED})
			}
		})
	}
}

// Every way through the server looks at the host: the lane, also with a header that
// it has seen before, the short cut for HTTP/1.1, and Connect.
func TestCallsForOtherHostsAreDenied(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, protocol := range []protocol{grpcBinary, grpcJSON, grpcWeb, connectRPC, connectJSON} {
			t.Run(string(transport)+" "+protocol.name, func(t *testing.T) {
				t.Parallel()
				running := servertest.Start(t, func(config *server.Config) {
					config.HTTP2, config.AllowedHosts = transport, []string{"userd.example.com"}
				})
				host := "userd.example.com"
				client := running.ClientOf(changing(servertest.HTTP2(t), func(req *http.Request) { req.Host = host }), protocol.options...)
				id := create(t, client, newUserRequest(1)).GetId()
				for _, host = range []string{"userd.example.com", "evil.example", "userd.example.com:443", "evil.example"} {
					for range 2 {
						_, err := client.GetUser(t.Context(), &userv1.GetUserRequest{UserId: id})
						_, created := client.CreateUser(t.Context(), &userv1.CreateUserRequest{UserId: id, Email: testEmail(1), DisplayName: testName(1)})
						_, _, listed := list(t.Context(), client, &userv1.ListUsersRequest{})
						for _, err := range []error{err, created, listed} {
							if strings.HasPrefix(host, "evil") {
								checkError(t, err, failure{code: connect.CodePermissionDenied, reason: userv1.Reason_REASON_PERMISSION_DENIED})
							} else if err != nil {
								t.Errorf("for %s: %v", host, err)
							}
						}
					}
				}
			})
		}
	}
}

func TestRefusedHostsAreTold(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	status, body := getFor(t, servertest.HTTP1(t), running.URL+"/user.v1.UserService/GetUser?message=%7B%7D&encoding=json", "evil.example:8080")
	if status != http.StatusMisdirectedRequest || !strings.Contains(body, `"evil.example"`) || !strings.Contains(body, "--allowed-host") {
		t.Errorf("status %d: %s", status, body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, running.URL+"/user.v1.UserService/GetUser", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	req.Header.Set("Content-Type", "application/json")
	resp, err := servertest.HTTP1(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("JSON is refused with status %d, %s", resp.StatusCode, resp.Header)
	}
	metrics := httptest.NewRecorder()
	running.Admin().ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(metrics.Body.String(), "\nuserd_hosts_refused_total 2\n") {
		t.Errorf("two refused requests are counted as\n%s", metrics.Body)
	}
}

func TestAllowedNames(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) {
		config.AllowedHosts = []string{"Userd.example.com.", "*.internal.example", "[2001:db8::1]", "192.0.2.1"}
	})
	any := servertest.Start(t, func(config *server.Config) { config.AllowedHosts = []string{"*"} })
	client := servertest.HTTP1(t)
	for host, want := range map[string]int{
		"userd.example.com": http.StatusOK, "USERD.example.com:8443": http.StatusOK, "userd.example.com.": http.StatusOK,
		"a.internal.example": http.StatusOK, "a.b.internal.example:1": http.StatusOK,
		"[2001:db8::1]:8080": http.StatusOK, "192.0.2.1:8080": http.StatusOK, "localhost": http.StatusOK,
		"example.com": http.StatusMisdirectedRequest, "a.userd.example.com": http.StatusMisdirectedRequest,
		"internal.example": http.StatusMisdirectedRequest, "xinternal.example": http.StatusMisdirectedRequest,
		"192.0.2.2": http.StatusMisdirectedRequest,
	} {
		if got, body := getFor(t, client, running.URL+"/openapi.json", host); got != want {
			t.Errorf("%s: status %d, want %d: %s", host, got, want, body)
		}
		if got, body := getFor(t, client, any.URL+"/openapi.json", host); got != http.StatusOK {
			t.Errorf(`%s: status %d where "*" is allowed: %s`, host, got, body)
		}
	}
}

// An address is no name that somebody could point elsewhere. On a connection that
// did not come over loopback, any is answered: behind a service address or a port
// mapping it is not the server's own.
func TestAddressesAreAnsweredElsewhere(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for host, want := range map[string]int{
		"192.0.2.1:8080": http.StatusOK, "[2001:db8::1]": http.StatusOK, "10.0.0.9": http.StatusOK, "localhost": http.StatusOK,
		"evil.example": http.StatusMisdirectedRequest, "10.0.0.9.evil.example": http.StatusMisdirectedRequest,
	} {
		req := httptest.NewRequest(http.MethodGet, "/openapi.json", nil)
		req.Host = host
		local := &net.TCPAddr{IP: net.ParseIP("10.0.0.7"), Port: 8080}
		req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, local))
		answer := httptest.NewRecorder()
		running.Handler().ServeHTTP(answer, req)
		if answer.Code != want {
			t.Errorf("%s: status %d, want %d", host, answer.Code, want)
		}
	}
}

// Requests that no library would send.
func TestHostsOfRawRequests(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	for request, want := range map[string]string{
		"GET /openapi.json HTTP/1.0\r\n\r\n":                                                         "200",
		"GET /openapi.json HTTP/1.0\r\nHost: evil.example\r\n\r\n":                                   "421",
		"GET /openapi.json HTTP/1.1\r\nConnection: close\r\n\r\n":                                    "400",
		"GET http://evil.example/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n":                   "421",
		"GET http://localhost/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n":                      "200",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n":                               "421",
		"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n":                "400",
		"GET /openapi.json HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n":                         "400",
		"GET /openapi.json HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n\r\n":    "421",
		"OPTIONS /user.v1.UserService/GetUser HTTP/1.1\r\nHost: evil.example\r\n\r\n":                "421",
		"GET /openapi.json HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nCookie: a\r\n\r\n": "421",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(running.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(line, " "+want+" ") {
			t.Errorf("%q is answered %q, error %v, want %s", request, line, err, want)
		}
	}
}

// A page that may call does so over a host that is answered, and only there.
func TestCrossOriginCallsNeedAnAllowedHost(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, func(config *server.Config) {
		config.CORSOrigins, config.AllowedHosts = []string{"*"}, []string{"userd.example.com"}
	})
	for host, want := range map[string]string{"userd.example.com": "*", "localhost": "*", "evil.example": ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, running.URL+"/user.v1.UserService/GetUser", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Origin", "https://app.example.com")
		req.Header.Set("Access-Control-Request-Method", http.MethodPost)
		resp, err := servertest.HTTP1(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("for %s the origin %q is allowed, want %q", host, got, want)
		}
	}
}

func TestProfilesAreOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	for profiles, want := range map[bool]map[string]int{
		false: {"": http.StatusNotFound, "heap": http.StatusNotFound, "cmdline": http.StatusNotFound, "goroutine": http.StatusNotFound},
		true:  {"": http.StatusOK, "heap": http.StatusOK, "cmdline": http.StatusNotFound, "goroutine": http.StatusOK},
	} {
		t.Run(fmt.Sprint(profiles), func(t *testing.T) {
			t.Parallel()
			running := servertest.Start(t, func(config *server.Config) { config.Profiles = profiles })
			for name, want := range want {
				answer := httptest.NewRecorder()
				running.Admin().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "http://localhost/debug/pprof/"+name, nil))
				if answer.Code != want {
					t.Errorf("/debug/pprof/%s: status %d, want %d", name, answer.Code, want)
				}
			}
		})
	}
}
