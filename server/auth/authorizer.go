package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// Config says whom an Authorizer knows: File or Keys must be set.
type Config struct {
	// File has the principals. Default: there are none but those with a JWT.
	File string
	// Keys is the file or URL (http, https) of a JWK set: the keys whose JWT are good.
	// Default: there is no such key.
	Keys string
	// Issuer and Audience are what a JWT must have as iss and in aud. Both must be set
	// with Keys.
	Issuer, Audience string
	// Logger takes what is wrong with the file and the keys. Default: discarded.
	Logger *slog.Logger
	// Registry takes the metrics. Default: one of its own.
	Registry prometheus.Registerer
}

// Authorizer decides which requests are let in.
type Authorizer struct {
	logger  *slog.Logger
	metrics *metrics
	late    slowdown
	clock   clock

	callers  atomic.Pointer[callers] // Others with every change.
	changing sync.Mutex

	files  []*source   // Those that are looked at.
	parser *jwt.Parser // Nil without keys.
	issuer *issuer     // Nil where keys are in a file.

	mu      sync.Mutex
	streams map[*stream]struct{}
}

// callers are all who are known. They do not change.
type callers struct {
	*principals
	keys *keySet // Nil where there are none.
}

// ErrKeys is the kind of errors of New that are of Config.Keys.
var ErrKeys = errors.New("JWK set")

// New returns an Authorizer for the principals of a file and the keys of an issuer. Watch
// and WatchIssuer read them again. A file that is missing or broken is an error; an issuer
// that is away is not, and is asked again: it must not keep the others from their service.
func New(config Config) (*Authorizer, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Registry == nil {
		config.Registry = prometheus.NewRegistry()
	}
	a := &Authorizer{logger: config.Logger, metrics: newMetrics(), streams: make(map[*stream]struct{})}
	nobody, _ := parse("")
	a.callers.Store(&callers{principals: nobody})
	if config.File != "" {
		principals := &source{name: "the file of principals", path: config.File, logger: a.logger, broken: a.metrics.broken, apply: a.usePrincipals}
		if err := a.open(principals); err != nil {
			return nil, err
		}
	}
	if err := a.openKeys(config); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	a.metrics.register(config.Registry)
	return a, nil
}

// open reads a file that is read again then.
func (a *Authorizer) open(s *source) error {
	a.files = append(a.files, s)
	return s.open()
}

// openKeys reads the keys, if there are to be any.
func (a *Authorizer) openKeys(config Config) error {
	if config.Keys == "" {
		return nil
	}
	a.parser = newParser(config.Issuer, config.Audience)
	if !isURL(config.Keys) {
		return a.open(&source{name: "the file of keys", path: config.Keys, logger: a.logger, broken: a.metrics.brokenKeys, apply: a.useKeys})
	}
	a.issuer = newIssuer(config.Keys, a.takeKeys)
	a.issuer.fetchNow(context.Background())
	return nil
}

// Grant is that the caller of a request is known. It holds for all requests with the same
// credentials, as long as it is valid.
type Grant struct {
	Principal *Principal

	authorizer *Authorizer
	of         *callers // It is of these, and worthless when there are others.
	credential credential
	header     string // Authorization, or "".
}

// Valid reports whether the grant still holds.
func (g *Grant) Valid() bool {
	return g.of == g.authorizer.callers.Load() && (g.credential.until == 0 || !g.credential.expired(g.authorizer.clock.now()))
}

// Value is what the contexts of requests with the grant have.
func (g *Grant) Value(key any) any {
	if _, ok := key.(principalKey); ok {
		return g.Principal
	}
	return nil
}

// Authorize decides about a request that needs a scope, by its Authorization headers and
// by its connection: the context is that of either. A token decides where there is one,
// whatever the certificate. One of both results is nil. It may wait for the keys of a JWT.
func (a *Authorizer) Authorize(ctx context.Context, need Scope, authorization []string, state *tls.ConnectionState) (*Grant, *Refusal) {
	grant, refusal := a.identify(ctx, authorization, state)
	if refusal == unverified {
		grant, refusal = a.verify(ctx, authorization[0])
	}
	return a.allow(grant, refusal, need)
}

// Recall is Authorize for those who have no time: it waits for nothing, and verifies no
// signature. A JWT that it does not remember is refused.
func (a *Authorizer) Recall(ctx context.Context, need Scope, authorization []string, state *tls.ConnectionState) (*Grant, *Refusal) {
	grant, refusal := a.identify(ctx, authorization, state)
	return a.allow(grant, refusal, need)
}

// allow is the answer to a caller who needs a scope.
func (a *Authorizer) allow(grant *Grant, refusal *Refusal, need Scope) (*Grant, *Refusal) {
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
	known := a.callers.Load()
	if a.parser != nil && shown.jwt != "" && known.byToken[shown.token] == nil {
		if shown.remember(known.keys); shown.signed == nil {
			return nil, unverified
		}
	}
	return a.grant(ctx, known, shown, header)
}

// grant lets in a caller who shows a credential, if that is known.
func (a *Authorizer) grant(ctx context.Context, known *callers, shown credential, header string) (*Grant, *Refusal) {
	principal := known.find(&shown)
	if principal == nil {
		return nil, unknown
	}
	if shown.expired(time.Now().Unix()) {
		return nil, shown.expiry()
	}
	grant := &Grant{Principal: principal, authorizer: a, of: known, credential: shown, header: header}
	if last, _ := ctx.Value(lastGrantKey{}).(*atomic.Pointer[Grant]); last != nil {
		last.Store(grant)
	}
	return grant, nil
}

// verify lets in a caller by a JWT that is not remembered. For a key that is not there the
// issuer is asked.
func (a *Authorizer) verify(ctx context.Context, header string) (*Grant, *Refusal) {
	known := a.callers.Load()
	shown, refusal := a.read(known, header)
	if a.issuer != nil && (refusal == unknownKey || refusal == noKeys) && a.issuer.refresh(ctx) {
		known = a.callers.Load()
		shown, refusal = a.read(known, header)
	}
	if refusal != nil {
		return nil, refusal
	}
	return a.grant(ctx, known, shown, header)
}

// read verifies the JWT of a header, and remembers it.
func (a *Authorizer) read(known *callers, header string) (credential, *Refusal) {
	if known.keys == nil {
		return credential{}, noKeys
	}
	shown, refusal := credentialOf(header, nil)
	if refusal != nil {
		return credential{}, refusal
	}
	said, refusal := known.keys.verify(a.parser, shown.jwt)
	if refusal != nil {
		return credential{}, refusal
	}
	known.keys.memory.add(shown.token, said)
	shown.take(said)
	return shown, nil
}

type principalKey struct{}

// PrincipalOf is the caller of a request by its context, or nil where it is not known.
func PrincipalOf(ctx context.Context) *Principal {
	principal, _ := ctx.Value(principalKey{}).(*Principal)
	return principal
}

// NameOf is the name of the caller of a request by its context, or "" where it is not known.
func NameOf(ctx context.Context) string {
	if principal := PrincipalOf(ctx); principal != nil {
		return principal.Name
	}
	return ""
}

// WithGrant is the context of a request with a grant.
func WithGrant(ctx context.Context, grant *Grant) context.Context {
	return context.WithValue(ctx, principalKey{}, grant.Principal)
}

type lastGrantKey struct{}

// ConnContext makes a connection remember the last grant of its requests. It is the
// ConnContext of http.Server.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, lastGrantKey{}, new(atomic.Pointer[Grant]))
}
