package edge

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1errors"
)

// FinishErrors is for unary calls of Connect that connecthttp answers. Their errors end with
// the end of a line, as those of the lane do, so that a shell shows them on one of their own.
// A message that is too large gets 413: many clients of HTTP send again what gets 429, which
// Connect has for all that is RESOURCE_EXHAUSTED.
func FinishErrors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		contentType := r.Header.Get("Content-Type")
		if strings.HasPrefix(contentType, "application/grpc") || strings.HasPrefix(contentType, "application/connect+") {
			next.ServeHTTP(w, r)
			return
		}
		e := &errorLine{ResponseWriter: w}
		next.ServeHTTP(e, r.WithContext(context.WithValue(r.Context(), errorLineKey{}, e)))
	})
}

// NoteTooLarge is an interceptor that tells FinishErrors of messages that are too large. It
// stands outside of failure.Interceptor, so that it sees errors as callers do.
func NoteTooLarge(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		err := next(ctx, spec, stream)
		if err != nil {
			if e, ok := ctx.Value(errorLineKey{}).(*errorLine); ok {
				e.tooLarge = userv1errors.Reason(err) == userv1.Reason_REASON_MESSAGE_TOO_LARGE
			}
		}
		return err
	}
}

type errorLineKey struct{}

// errorLine is a response that may be an error in JSON, which ends with the end of a line.
type errorLine struct {
	http.ResponseWriter
	tooLarge bool
	isError  bool
}

func (e *errorLine) WriteHeader(status int) {
	e.isError = status >= http.StatusBadRequest && e.Header().Get("Content-Type") == "application/json"
	if e.tooLarge && status == http.StatusTooManyRequests {
		status = http.StatusRequestEntityTooLarge
	}
	e.ResponseWriter.WriteHeader(status)
}

// Write takes an error whole.
func (e *errorLine) Write(p []byte) (int, error) {
	if !e.isError || len(p) == 0 || p[len(p)-1] != '}' {
		return e.ResponseWriter.Write(p)
	}
	n, err := e.ResponseWriter.Write(append(slices.Clip(p), '\n'))
	return min(n, len(p)), err
}

// Unwrap lets http.ResponseController reach the connection.
func (e *errorLine) Unwrap() http.ResponseWriter { return e.ResponseWriter }
