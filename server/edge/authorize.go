package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/lane"
	"github.com/example/userd/server/webtext"
)

// Authorize answers requests whose callers are not let in, before anything of their body
// is read. need says what a path needs; streams, which kinds has, end when their credentials
// do. Nil lets everybody in.
func Authorize(a *auth.Authorizer, need func(path string) auth.Scope, kinds map[string]connect.StreamType) Middleware {
	if a == nil {
		return func(next http.Handler) http.Handler { return next }
	}
	refuse := webtext.Translate(http.HandlerFunc(refuseCaller))
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			scope := need(r.URL.Path)
			if scope == auth.Public {
				next.ServeHTTP(w, r)
				return
			}
			grant, refusal := a.Authorize(r.Context(), scope, r.Header["Authorization"], r.TLS)
			switch {
			case refusal != nil:
				a.Refuse(r.Context(), r.RemoteAddr, refusal)
				refuse.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), refusalKey{}, refusal)))
			case kinds[r.URL.Path] != connect.StreamTypeUnary:
				serveRevocable(a, grant, scope, kinds[r.URL.Path], next, w, r.WithContext(auth.WithGrant(r.Context(), grant)))
			default:
				next.ServeHTTP(w, r.WithContext(auth.WithGrant(r.Context(), grant)))
			}
		})
	}
}

type refusalKey struct{}

// refuseCaller answers a request that is not let in: a call as its protocol has it, others
// with a status of HTTP.
func refuseCaller(w http.ResponseWriter, r *http.Request) {
	status := r.Context().Value(refusalKey{}).(*auth.Refusal).Status
	code := http.StatusForbidden
	switch status.Code {
	case connect.CodeUnauthenticated:
		code = http.StatusUnauthorized
	case connect.CodeUnavailable:
		code = http.StatusServiceUnavailable
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // Nobody waits for the request to come whole.
	}
	w = challenge{w}
	if !refusals.IsSupported(r) || r.Method == http.MethodGet && !r.URL.Query().Has("encoding") {
		refusePlainly(w, r, status.Message(), code)
		return
	}
	refuse(w, r, failure.New(status))
}

// challenge is a response that says how to authenticate, as RFC 9110 section 11.6.1 wants
// it of every 401.
type challenge struct{ http.ResponseWriter }

// Unwrap lets http.ResponseController reach the connection.
func (c challenge) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c challenge) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		c.Header().Set("WWW-Authenticate", "Bearer")
	}
	c.ResponseWriter.WriteHeader(status)
}

// serveRevocable serves a stream that ends when its caller is not let in any more. One of
// requests ends with its body, so that its handler can say what it has done; one of
// responses ends with its context.
func serveRevocable(a *auth.Authorizer, grant *auth.Grant, need auth.Scope, kind connect.StreamType, next http.Handler, w http.ResponseWriter, r *http.Request) {
	body := &revocableBody{Reader: r.Body}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer cancel(nil)
	defer context.AfterFunc(r.Context(), func() {
		if !body.revoked.Load() { // Over HTTP/1.1 the deadline of the body ends the context, too.
			cancel(context.Cause(r.Context()))
		}
	})()
	controller := http.NewResponseController(w)
	stop := a.Follow(grant, need, func() {
		if kind&connect.StreamTypeClient == 0 {
			cancel(failure.ErrRevoked)
			return
		}
		body.revoked.Store(true)
		if !body.ended.Load() { // Else it would be the deadline of what net/http reads then: all further requests of the connection would be cancelled.
			_ = controller.SetReadDeadline(time.Now()) // A connection without deadlines is closed by its server instead.
		}
	})
	defer stop()
	next.ServeHTTP(w, lane.WithBody(r.WithContext(ctx), body))
}

// revocableBody is the body of a stream that may end before it.
type revocableBody struct {
	io.Reader
	revoked atomic.Bool
	ended   atomic.Bool // It has come whole.
}

func (b *revocableBody) Read(p []byte) (int, error) {
	if b.revoked.Load() { // And the deadline that says so may have been lifted since.
		return 0, failure.ErrRevoked
	}
	n, err := b.Reader.Read(p)
	switch {
	case err == io.EOF:
		b.ended.Store(true)
	case err != nil && b.revoked.Load():
		err = failure.ErrRevoked
	}
	return n, err
}

// TellRevoked is an interceptor that tells streams whose context has ended with their
// credentials that this is why.
func TellRevoked(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		err := next(ctx, spec, stream)
		if err != nil && spec.StreamType != connect.StreamTypeUnary && errors.Is(context.Cause(ctx), failure.ErrRevoked) {
			return failure.ErrRevoked
		}
		return err
	}
}
