package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/example/userd/server/audit"
	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/telemetry"
	"github.com/example/userd/server/users"
	"github.com/example/userd/store"
)

// Admitted is an import that was let in.
type Admitted = users.Admitted

// Config says how a server runs. Only Store must be set.
type Config struct {
	// Store keeps the users. The server does not close it.
	Store store.Store
	// Reader answers reads by id, email and external id: a cache over Store. Default:
	// they go to Store.
	Reader Reader
	// Refuse returns why a lookup of a caller, with a context and from an address, would be
	// refused if the store were asked now, or nil. It waits for nothing, and counts a call that
	// it refuses: such calls cost less. Default: none would be.
	Refuse func(ctx context.Context, remote string) error
	// Admit lets an import in, whose calls of Store then have the context that it
	// returns, or returns why not. Default: all are let in.
	Admit func(context.Context) (context.Context, Admitted, error)
	// Auth lets in whom it knows, for what they may do, on both listeners; probes need no
	// credentials. Default: everybody may do everything.
	Auth *auth.Authorizer
	// Audit takes a line for each write. The server does not close it. Default: no lines.
	Audit *audit.Log
	// Register adds services to those of the server. Their calls pass everything that
	// calls of the user service pass; their errors are their own. With Auth they need
	// [auth.Admin], and they do not change the headers of requests, which calls share.
	// Default: none.
	Register func(*connect.Server)
	// Logger takes the server's log. Default: discarded.
	Logger *slog.Logger
	// Registry takes the server's metrics. Default: one of its own.
	Registry *prometheus.Registry
	// Tracer makes spans of the calls that Sampler chooses. Default: no tracing.
	Tracer trace.TracerProvider
	// Sampler chooses calls. Default: telemetry.SampleAsParent.
	Sampler telemetry.Sampler
	// TLS turns TLS on, with HTTP/2 and HTTP/1.1 by ALPN. Default: HTTP/2 with
	// prior knowledge (h2c) and HTTP/1.1 in the clear.
	TLS *tls.Config
	// MaxMessageBytes is the largest message, decompressed. Rows of BatchCreateUsers and
	// StreamUserUpdates have 64 KiB at most. Default: 16 MiB.
	MaxMessageBytes int
	// HTTP2 says what serves HTTP/2. Default: Engine.
	HTTP2 Transport
	// MaxConcurrentStreams is the most calls at a time on one HTTP/2 connection.
	// Default: 100.
	MaxConcurrentStreams int
	// MaxConnections is the most connections at a time. When all are in use, the one that
	// has been idle for the longest time is closed for the next. A sixteenth may be there
	// besides for a moment, and AdminConnections of the admin listener. Default: 10,000.
	MaxConnections int
	// MaxConnectionAge is how old a connection may become, a tenth more or less. Then its peer is
	// told to open another one, streams that never end by themselves end, and others are served
	// to their end. Default: as old as it likes.
	MaxConnectionAge time.Duration
	// MaxStreamsPerPrincipal and MaxStreamsPerAddress are the most streams that a principal,
	// and an address (of IPv6, a /64), may have open. Defaults: 1,000 and 10,000.
	MaxStreamsPerPrincipal, MaxStreamsPerAddress int
	// ReceiveTimeout is how long a request may take to come, and of a stream of messages
	// each from its first byte to its last. Default: 10 seconds.
	ReceiveTimeout time.Duration
	// SendTimeout is how long what is sent may wait for a caller that does not read it:
	// nobody can hold memory and goroutines for much longer than twice that. Default: 30 seconds.
	SendTimeout time.Duration
	// ShutdownDelay is how long Shutdown goes on serving after it has said that the server
	// is not ready: as long as those who choose servers may take to notice. Default: not at all.
	ShutdownDelay time.Duration
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
	// Console serves the page for people at /console/, where browsers that ask for / are sent.
	// Default: off.
	Console bool
	// LoginResolution is the shortest time between two writes for logins of one
	// user. Default: 1 minute. Negative: every login is written.
	LoginResolution time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Reader answers reads. A [cache.Cache] of users encoded by [wire.EncodeUser] is one.
type Reader = users.Reader

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Sampler == nil {
		c.Sampler = telemetry.SampleAsParent
	}
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, 16<<20)
	c.HTTP2 = cmp.Or(c.HTTP2, Engine)
	c.MaxConcurrentStreams = cmp.Or(c.MaxConcurrentStreams, 100)
	c.MaxConnections = cmp.Or(c.MaxConnections, 10_000)
	c.MaxStreamsPerPrincipal = cmp.Or(c.MaxStreamsPerPrincipal, 1_000)
	c.MaxStreamsPerAddress = cmp.Or(c.MaxStreamsPerAddress, 10_000)
	c.ReceiveTimeout = cmp.Or(c.ReceiveTimeout, 10*time.Second)
	c.SendTimeout = cmp.Or(c.SendTimeout, 30*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 2*time.Minute)
	c.LoginResolution = cmp.Or(c.LoginResolution, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Transport is what serves HTTP/2. Callers cannot tell one from the other, but by
// their speed.
type Transport string

const (
	Std    Transport = "std"    // net/http.
	Engine Transport = "engine" // Package h2.
)
