package h2_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/example/userd/server/h2"
)

// A connection of net/http, to which the engine is compared, lives on for a second
// after its GOAWAY, and with it the handlers that read from it.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*http2serverConn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*http2serverConn).runHandler"))
}

// transport is one way to serve a handler: net/http, or the engine, which must do
// what net/http does.
type transport struct {
	engine bool
	tls    bool
}

// server is a running server of either kind.
type server struct {
	*h2.Server // nil for std.
	url        string
	addr       string
}

// start serves until the test ends.
func (tr transport) start(tb testing.TB, config h2.Config) *server {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(tr.tls)
	protocols.SetUnencryptedHTTP2(!tr.engine && !tr.tls)
	plain := &http.Server{
		Handler: config.Handler, Protocols: protocols,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 100}, DisableGeneralOptionsHandler: true,
	}
	s := &server{url: "http://" + listener.Addr().String(), addr: listener.Addr().String()}
	if tr.engine {
		s.Server = h2.New(config)
	}
	if tr.engine && !tr.tls {
		listener = s.Listener(listener)
	}
	serve := plain.Serve
	if tr.tls {
		s.url = "https://" + s.addr
		plain.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
		serve = func(l net.Listener) error { return plain.ServeTLS(l, "", "") }
		if tr.engine {
			plain.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": s.TLSNextProto}
		}
	}
	served := make(chan error, 1)
	go func() { served <- serve(listener) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if s.Server != nil {
			if err := s.Shutdown(ctx); err != nil {
				tb.Errorf("shut the engine down: %v", err)
			}
		}
		if err := plain.Shutdown(ctx); err != nil {
			_ = plain.Close()
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("serve: %v", err)
		}
	})
	return s
}

// certificate is the one of httptest, for 127.0.0.1.
var certificate = func() tls.Certificate {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates[0]
}()

// startEngine serves a handler with the engine.
func startEngine(tb testing.TB, config h2.Config) *server {
	tb.Helper()
	return transport{engine: true}.start(tb, config)
}

// client returns an HTTP client that speaks HTTP/2 only.
func client(tb testing.TB) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols:          protocols,
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, // Tests make their own certificates.
	}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
