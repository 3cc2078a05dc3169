package auth

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says whom an Authorizer knows. Only File must be set.
type Config struct {
	// File has the principals.
	File string
	// Logger takes what is wrong with the file. Default: discarded.
	Logger *slog.Logger
	// Registry takes the metrics. Default: one of its own.
	Registry prometheus.Registerer
}

// Authorizer decides which requests are let in.
type Authorizer struct {
	file    string
	logger  *slog.Logger
	metrics *metrics
	late    slowdown

	principals atomic.Pointer[principals] // Others with every change.

	reading sync.Mutex
	read    reading // The last look at the file.
	settled bool    // Its principals are those of now, or it is broken.

	mu      sync.Mutex
	streams map[*stream]struct{}
}

// New returns an Authorizer for the principals of a file. Watch reads it again.
func New(config Config) (*Authorizer, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Registry == nil {
		config.Registry = prometheus.NewRegistry()
	}
	a := &Authorizer{
		file: config.File, logger: config.Logger, read: readFile(config.File), settled: true,
		streams: make(map[*stream]struct{}),
	}
	known, err := a.read.parse()
	if err != nil {
		return nil, err
	}
	a.principals.Store(known)
	a.metrics = newMetrics(config.Registry)
	return a, nil
}

// Grant is that the caller of a request is known. It holds for all requests with the same
// credentials, as long as it is valid.
type Grant struct {
	Principal *Principal

	authorizer *Authorizer
	of         *principals // It is of these, and worthless when there are others.
	credential credential
	header     string // Authorization, or "".
}

// Valid reports whether the grant still holds.
func (g *Grant) Valid() bool {
	return g.of == g.authorizer.principals.Load() && !g.credential.expired()
}

// Authorize decides about a request that needs a scope, by its Authorization headers and
// by its connection: the context is that of either. A token decides where there is one,
// whatever the certificate. One of both results is nil.
func (a *Authorizer) Authorize(ctx context.Context, need Scope, authorization []string, state *tls.ConnectionState) (*Grant, *Refusal) {
	grant, refusal := a.identify(ctx, authorization, state)
	if refusal == nil && !grant.Principal.May(need) {
		return nil, missingScopes[need]
	}
	return grant, refusal
}

// identify finds out whose request it is.
func (a *Authorizer) identify(ctx context.Context, authorization []string, state *tls.ConnectionState) (*Grant, *Refusal) {
	header := ""
	if len(authorization) > 0 {
		header = authorization[0]
	}
	if len(authorization) > 1 || len(authorization) > 0 && header == "" {
		return nil, malformed
	}
	last, _ := ctx.Value(lastGrantKey{}).(*atomic.Pointer[Grant])
	if last != nil {
		if grant := last.Load(); grant != nil && same(grant.header, header) && grant.Valid() {
			return grant, nil
		}
	}
	shown, refusal := credentialOf(header, state)
	if refusal != nil {
		return nil, refusal
	}
	known := a.principals.Load()
	principal := known.find(&shown)
	switch {
	case principal == nil:
		return nil, unknown
	case shown.expired():
		return nil, expired
	}
	grant := &Grant{Principal: principal, authorizer: a, of: known, credential: shown, header: header}
	if last != nil {
		last.Store(grant)
	}
	return grant, nil
}

type lastGrantKey struct{}

// ConnContext makes a connection remember the last grant of its requests. It is the
// ConnContext of http.Server.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, lastGrantKey{}, new(atomic.Pointer[Grant]))
}
