package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cmd/userd/interop/proxytest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/store/storetest/transcript"
)

// A server that stops behind nginx costs no request, though nginx repeats none that
// could change something.
func TestTermBehindNginx(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			servers := [2]*process{startOnFile(t), startOnFile(t)}
			nginx := proxytest.Start(t, "nginx", servers[0].host(), servers[1].host())
			load := startLoad(t, nginx.URL)
			load.await(t, 400)
			if err := servers[0].stop(t); err != nil {
				t.Errorf("after SIGTERM: %v", err)
			}
			load.await(t, 400)
			load.stop()
		})
	}
}

// A server with a delay is unready from SIGTERM on, and still serves those who are there and
// those who come, until it stops.
func TestTermWithDelay(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"engine", "std"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			const delay = 4 * time.Second
			p := startOnFile(t, "--http2", transport, "--shutdown-delay", delay.String())
			there := grpcClient(t, p.url)
			call := func(client userv1connect.UserServiceClient) {
				t.Helper()
				if _, err := client.SearchUsers(t.Context(), &userv1.SearchUsersRequest{}); err != nil {
					t.Error(err)
				}
			}
			call(there)
			watch, err := there.WatchUsers(t.Context(), &userv1.WatchUsersRequest{})
			if err != nil {
				t.Fatal(err)
			}
			defer watch.Close()
			if _, err := watch.Receive(); err != nil {
				t.Fatal(err)
			}

			signalled := time.Now()
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for i := range 2 { // Each answer is the last one of its connection.
				awaitStatus(t, "http://"+p.adminHost+"/readyz", http.StatusServiceUnavailable)
				awaitStatus(t, p.url+"/readyz", http.StatusServiceUnavailable)
				awaitStatus(t, p.url+"/livez", http.StatusOK)
				call(there)
				call(grpcClient(t, p.url))
				if err := post(http.DefaultClient, p.url+"/user.v1.UserService/CreateUser", fmt.Sprintf(`{"email":"%d@example.com","displayName":"Ada"}`, i)); err != nil {
					t.Error(err)
				}
				if health := health(t, p.url); !strings.Contains(health, `"NOT_SERVING"`) {
					t.Errorf("health is %s", health)
				}
			}
			for err == nil { // The watch goes on, tells of Ada, and ends when the delay has.
				_, err = watch.Receive()
			}
			if connect.CodeOf(err) != connect.CodeUnavailable || time.Since(signalled) < delay {
				t.Errorf("after %v the watch ends with %v", time.Since(signalled), err)
			}
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v", err)
			}
		})
	}
}

// health is what grpc.health.v1 tells of a server.
func health(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Post(url+"/grpc.health.v1.Health/Check", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// awaitStatus returns when a server answers with a status.
func awaitStatus(t *testing.T, url string, status int) {
	t.Helper()
	for t.Context().Err() == nil {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == status {
			return
		}
	}
}

func startOnFile(t *testing.T, flags ...string) *process {
	t.Helper()
	return startUserd(t, append(flags, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))...)
}

// host is where the service listens, host:port.
func (p *process) host() string { return strings.TrimPrefix(p.url, "http://") }

// callers are as many as have connections to both servers among the 16 that nginx
// keeps, so that it opens none while a listener closes: the system resets those that come
// after the server has looked for the last time.
const callers = 8

// load is calls that go on.
type load struct {
	answered atomic.Int64
	failed   atomic.Bool
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// startLoad makes reads and writes over HTTP/1.1, all of them POST. Each must succeed.
func startLoad(t *testing.T, url string) *load {
	transport := &http.Transport{
		MaxIdleConnsPerHost: callers,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, // The proxy's certificate is made for tests.
	}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	for caller := range callers {
		l.running.Go(func() {
			for i := 0; ctx.Err() == nil && !l.failed.Load(); i++ {
				rpc, body := "SearchUsers", "{}"
				if i%2 == 0 {
					rpc, body = "CreateUser", fmt.Sprintf(`{"email":"%d.%d@example.com","displayName":"Ada"}`, caller, i)
				}
				if err := post(client, url+"/user.v1.UserService/"+rpc, body); err != nil {
					t.Errorf("%s: %v", rpc, err)
					l.failed.Store(true)
				}
				l.answered.Add(1)
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

// await returns after so many more calls.
func (l *load) await(t *testing.T, calls int64) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for target := l.answered.Load() + calls; l.answered.Load() < target; <-ticker.C {
		if l.failed.Load() {
			t.FailNow()
		}
	}
}

func (l *load) stop() {
	l.cancel()
	l.running.Wait()
}

// post makes a call that must be answered with 200.
func post(client *http.Client, url, body string) error {
	resp, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}

// HAProxy that is told no method for its checks, and no path, has servers that are ready, and none
// that stops.
func TestHAProxyChecksWithOptions(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", " /readyz"} {
		t.Run("option httpchk"+path, func(t *testing.T) {
			t.Parallel()
			p := startOnFile(t, "--shutdown-delay", "1m")
			settings := strings.NewReplacer(
				"option httpchk", "option httpchk"+path, "    http-check send meth GET uri /readyz\n", "",
				"server b 10.0.0.2:8080 proto h2", "", "10.0.0.1:8080", p.host(),
				"check inter 1s", "check inter 50ms fall 1 rise 1",
			).Replace(proxytest.Settings(t, "haproxy"))
			proxy := proxytest.StartWith(t, "haproxy", settings)
			client := insecureClient(t)
			ask := func() int {
				t.Helper()
				resp, err := client.Get(proxy.URL + "/livez")
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				return resp.StatusCode
			}
			awaitMetric(t, p.adminHost, `userd_http2_requests_total{way="handler"} ([3-9]|\d\d)`) // Until then it is good without a check.
			if status := ask(); status != http.StatusOK {
				t.Errorf("HAProxy answers %d for a server that is ready", status)
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for status := 0; status != http.StatusServiceUnavailable && t.Context().Err() == nil; {
				status = ask()
			}
			awaitStatus(t, p.url+"/livez", http.StatusOK) // It still serves.
		})
	}
}

// HAProxy that sends a header of the PROXY protocol has no server, and the log of that says why.
func TestHAProxyWithThePROXYProtocol(t *testing.T) {
	t.Parallel()
	for option, cause := range map[string]string{"send-proxy": "PROXY protocol, version 1", "send-proxy-v2": "PROXY protocol, version 2"} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			var log transcript.Log
			p := startLogging(t, &log, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
			settings := strings.NewReplacer("10.0.0.1:8080 proto h2", p.host()+" proto h2 "+option, "server b 10.0.0.2:8080 proto h2", "").
				Replace(proxytest.Settings(t, "haproxy"))
			proxy := proxytest.StartWith(t, "haproxy", settings)
			client := insecureClient(t)
			for t.Context().Err() == nil && !strings.Contains(log.String(), cause) {
				resp, err := client.Get(proxy.URL + "/livez")
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode < http.StatusInternalServerError {
					t.Fatalf("HAProxy answers %s", resp.Status)
				}
			}
			if !strings.Contains(log.String(), option) {
				t.Errorf("the log does not say what to change: %s", log.String())
			}
		})
	}
}

// nginx that nobody has told not to buffer passes on what happens, when it happens.
func TestNginxPassesOnStreams(t *testing.T) {
	t.Parallel()
	p := startOnFile(t)
	settings := strings.NewReplacer("        proxy_buffering off;\n", "", "10.0.0.1:8080", p.host(), "10.0.0.2:8080", p.host()).
		Replace(proxytest.Settings(t, "nginx"))
	nginx := proxytest.StartWith(t, "nginx", settings)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, options := range map[string][]connecthttp.Option{"Connect": nil, "gRPC-Web": {connecthttp.WithGRPCWeb()}} {
		client := userv1connect.NewUserServiceClient(connect.NewClient(connecthttp.NewTransport(insecureClient(t), nginx.URL, options...)))
		watch, err := client.WatchUsers(ctx, &userv1.WatchUsersRequest{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := watch.Receive(); err != nil {
			t.Errorf("%s: the first message does not come: %v", name, err)
		}
		_ = watch.Close()
	}
}

// insecureClient takes the certificate that a proxy has for tests.
func insecureClient(t *testing.T) *http.Client {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // It is made for tests.
	t.Cleanup(client.CloseIdleConnections)
	return client
}
