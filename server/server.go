package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/grpcreflect/v2"
	"connectrpc.com/validate"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/h2"
	"github.com/example/userd/server/lane"
	"github.com/example/userd/store"
)

// Config says how a server runs. Only Store must be set.
type Config struct {
	// Store keeps the users. The server does not close it.
	Store store.Store
	// Reader answers reads by id and by email: a cache over Store. Default: they
	// go to Store.
	Reader Reader
	// Register adds services to those of the server. Their calls pass everything that
	// calls of the user service pass; their errors are their own. Default: none.
	Register func(*connect.Server)
	// Logger takes the server's log. Default: discarded.
	Logger *slog.Logger
	// Registry takes the server's metrics. Default: one of its own.
	Registry *prometheus.Registry
	// Tracer makes a span of every call. Default: no tracing.
	Tracer trace.TracerProvider
	// TLS turns TLS on, with HTTP/2 and HTTP/1.1 by ALPN. Default: HTTP/2 with
	// prior knowledge (h2c) and HTTP/1.1 in the clear.
	TLS *tls.Config
	// MaxMessageBytes is the largest message, decompressed. Default: 16 MiB.
	MaxMessageBytes int
	// HTTP2 says what serves HTTP/2. Default: Engine.
	HTTP2 Transport
	// MaxConcurrentStreams is the most calls at a time on one HTTP/2 connection.
	// Default: 100.
	MaxConcurrentStreams int
	// MaxConnections is the most connections at a time. Default: 10,000.
	MaxConnections int
	// ReceiveTimeout is how long a request may take to come, if it is not a stream of
	// messages. Default: 10 seconds.
	ReceiveTimeout time.Duration
	// SendTimeout is how long what is sent may wait for a caller that does not read it:
	// nobody can hold memory and goroutines for longer. Default: 30 seconds.
	SendTimeout time.Duration
	// IdleTimeout is how long a connection may have no call. Default: 2 minutes.
	IdleTimeout time.Duration
	// CORSOrigins are the origins whose pages may call, "*" for all. Default: none.
	CORSOrigins []string
	// AllowedHosts are the names, besides localhost, by which requests may ask for
	// this server, on both listeners: userd.example.com, *.example.com for all below,
	// "*" for any. Default: none.
	AllowedHosts []string
	// Profiles turns /debug/pprof on, on the admin listener. Default: off.
	Profiles bool
	// LoginResolution is the shortest time between two writes for logins of one
	// user. Default: 1 minute. Negative: every login is written.
	LoginResolution time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = 16 << 20
	}
	if c.HTTP2 == "" {
		c.HTTP2 = Engine
	}
	if c.MaxConcurrentStreams == 0 {
		c.MaxConcurrentStreams = 100
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = 10_000
	}
	if c.ReceiveTimeout == 0 {
		c.ReceiveTimeout = 10 * time.Second
	}
	if c.SendTimeout == 0 {
		c.SendTimeout = 30 * time.Second
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 2 * time.Minute
	}
	if c.LoginResolution == 0 {
		c.LoginResolution = time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Server serves user.v1.UserService.
type Server struct {
	config  Config
	users   *users
	rpc     *connect.Server
	http    *gracefulServer
	admin   *gracefulServer
	lane    *lane.Lane
	engine  *h2.Server // Serves HTTP/2, if it is not nil.
	hosts   *allowedHosts
	running context.Context // Ends when the server begins to stop.
	drain   context.CancelFunc

	connections *connections
	arrivals    *arrivals
}

// New returns a server. It serves nothing until Serve.
func New(config Config) (*Server, error) {
	s := &Server{config: config.withDefaults()}
	s.running, s.drain = context.WithCancel(context.Background())
	s.connections = newConnections(s.config.MaxConnections, s.config.Registry)
	s.arrivals = newArrivals(s.config.ReceiveTimeout)
	s.hosts = newAllowedHosts(s.config.AllowedHosts, s.config.Registry)
	registerPanics(s.config.Registry)
	var err error
	if s.users, err = newUsers(usersConfig{
		Store:           s.config.Store,
		Reader:          s.config.Reader,
		LoginResolution: max(s.config.LoginResolution, 0),
		Now:             s.config.Now,
		Running:         s.running,
		Logger:          s.config.Logger,
		Registry:        s.config.Registry,
	}); err != nil {
		return nil, err
	}
	if s.rpc, err = s.rpcServer(); err != nil {
		return nil, err
	}
	s.lane = s.newLane(s.rpc)
	handler := s.routes(s.rpc)
	s.http = s.httpServer(handler)
	s.admin = s.boundedServer(s.Admin())
	if err := s.chooseHTTP2(handler); err != nil {
		return nil, err
	}
	return s, nil
}

// rpcServer is the Connect server: interceptors and handlers.
func (s *Server) rpcServer() (*connect.Server, error) {
	interceptors, err := s.interceptors()
	if err != nil {
		return nil, err
	}
	rpc := connect.NewServer(append(interceptors, s.users.bareInterceptor)...)
	userv1connect.RegisterUserServiceHandler(rpc, s.users)
	if s.config.Register != nil {
		s.config.Register(rpc)
	}
	if err := s.registerHealth(rpc); err != nil {
		return nil, fmt.Errorf("set up health checks: %w", err)
	}
	grpcreflect.Register(rpc)
	rpc.SetUnknownHandler(func(context.Context, connect.Spec, connect.ServerStream) error {
		return newError(unknownMethod)
	})
	return rpc, nil
}

// interceptors are those that all calls pass, the outermost first.
func (s *Server) interceptors() ([]connect.ServerInterceptor, error) {
	interceptors := []connect.ServerInterceptor{
		telemetryInterceptor(s.config.Registry, s.config.Logger),
	}
	if s.config.Tracer != nil {
		traces, err := traceInterceptor(s.config.Tracer)
		if err != nil {
			return nil, fmt.Errorf("set up tracing: %w", err)
		}
		interceptors = append(interceptors, traces)
	}
	return append(interceptors,
		errorInterceptor(s.config.Logger, s.users.countInvalid),
		validate.NewServerInterceptor(validate.WithValidator(newValidator()), validate.WithoutErrorDetails())), nil
}

// Handler returns the handler of the service's listener.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve serves on the listener until Shutdown, which makes it return nil.
func (s *Server) Serve(listener net.Listener) error {
	return s.http.run(listener, func(listener net.Listener) error {
		listener = s.connections.limit(listener)
		switch {
		case s.config.TLS != nil:
			return s.http.ServeTLS(listener, "", "")
		case s.engine != nil:
			return s.http.Serve(s.engine.Listener(listener))
		default:
			return s.http.Serve(listener)
		}
	})
}

// ServeAdmin serves the Admin handler on a listener of its own until the end of
// Shutdown, which makes it return nil.
func (s *Server) ServeAdmin(listener net.Listener) error {
	return s.admin.run(listener, s.admin.Serve)
}

// Shutdown stops the server: it is not ready any more, takes no connections, tells
// its peers to go away, ends watches, and waits for the other calls. What ServeAdmin
// serves stops last. When ctx ends first, the calls that are left are cut off and
// Shutdown returns the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.drain()
	looking, stop := context.WithCancel(ctx)
	defer stop()
	go s.arrivals.drain(looking)
	s.admin.leave()
	s.http.stop()
	if s.engine != nil {
		s.engine.Drain()
	}
	s.http.await(ctx)
	var group errgroup.Group
	group.Go(func() error { return s.http.finish(ctx) })
	if s.engine != nil {
		group.Go(func() error { return s.engine.Shutdown(ctx) })
	}
	err := group.Wait()
	s.users.close()
	s.admin.stop()
	s.admin.await(ctx)
	return errors.Join(err, s.admin.finish(ctx))
}

// ready returns nil when the server can answer calls.
func (s *Server) ready(ctx context.Context) error {
	if s.running.Err() != nil {
		return errDraining
	}
	return s.config.Store.Ping(ctx)
}
