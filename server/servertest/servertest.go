// Package servertest runs a real server on a temporary store, for tests.
package servertest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cache"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// shutdownTimeout bounds the end of a test whose calls do not end.
const shutdownTimeout = 10 * time.Second

// testHosts are what requests ask for that tests write themselves, and httptest.
var testHosts = []string{"test", "example.com"}

// HTTP2Transport is what serves HTTP/2 in tests that do not choose: what USERD_HTTP2
// says, as it does for userd itself. All tests are to pass with either.
func HTTP2Transport() server.Transport { return server.Transport(os.Getenv("USERD_HTTP2")) }

// Server is a running server.
type Server struct {
	*server.Server
	URL   string
	Store store.Store
}

// Start runs a server on a new SQLite store until the test ends. configure may
// change how; a Store that it sets is used instead, and not closed.
func Start(tb testing.TB, configure func(*server.Config)) *Server {
	tb.Helper()
	var config server.Config
	if configure != nil {
		configure(&config)
	}
	if config.Store == nil {
		config.Store = NewStore(tb)
	}
	if config.HTTP2 == "" {
		config.HTTP2 = HTTP2Transport()
	}
	if config.AllowedHosts == nil {
		config.AllowedHosts = testHosts
	}
	srv, err := server.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			tb.Errorf("shut down: %v", err)
		}
		if err := <-served; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	scheme := "http"
	if config.TLS != nil {
		scheme = "https"
	}
	return &Server{Server: srv, URL: scheme + "://" + listener.Addr().String(), Store: config.Store}
}

// StartCached runs a server whose reads go through a cache in its process.
func StartCached(tb testing.TB) *Server {
	tb.Helper()
	cached, err := cache.New(NewStore(tb), cache.Config{Encode: wire.EncodeUser, Decode: wire.DecodeUser})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := cached.Close(); err != nil {
			tb.Errorf("close cache: %v", err)
		}
	})
	return Start(tb, func(config *server.Config) { config.Store, config.Reader = cached, cached })
}

// NewStore returns a new SQLite store that is closed when the test ends.
func NewStore(tb testing.TB) store.Store {
	tb.Helper()
	users, err := sqlite.Open(tb.Context(), sqlite.Config{Path: filepath.Join(tb.TempDir(), "userd.db")})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := users.Close(); err != nil {
			tb.Errorf("close store: %v", err)
		}
	})
	return users
}

// Client returns a client of the server, over HTTP/2 and by default the Connect
// protocol.
func (s *Server) Client(tb testing.TB, options ...connecthttp.Option) userv1connect.UserServiceClient {
	return s.ClientOf(HTTP2(tb), options...)
}

// ClientOf returns a client of the server that uses an HTTP client.
func (s *Server) ClientOf(client *http.Client, options ...connecthttp.Option) userv1connect.UserServiceClient {
	return userv1connect.NewUserServiceClient(connect.NewClient(connecthttp.NewTransport(client, s.URL, options...)))
}

// HTTP2 returns an HTTP client that speaks HTTP/2 only, in the clear and over TLS,
// and trusts every certificate.
func HTTP2(tb testing.TB) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return httpClient(tb, protocols)
}

// HTTP1 returns an HTTP client that speaks HTTP/1.1 only.
func HTTP1(tb testing.TB) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return httpClient(tb, protocols)
}

func httpClient(tb testing.TB, protocols *http.Protocols) *http.Client {
	transport := &http.Transport{
		Protocols:       protocols,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // Tests make their own certificates.
	}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
