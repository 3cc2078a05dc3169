package edge

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1errors"
	"github.com/example/userd/server/lane"
)

// FinishErrors is for what connecthttp answers. Errors of unary calls of Connect end with the
// end of a line, as those of the lane do, so that a shell shows them on one of their own.
// A message that is too large gets 413: many clients of HTTP send again what gets 429, which
// Connect has for all that is RESOURCE_EXHAUSTED.
//
// What fails over gRPC before there is a message is answered with Trailers-Only, as by the lane:
// by that its clients know that they may send it again, where they have a policy for this. It is
// not so for streams of requests, of which kinds tells: a part of one may be stored.
func FinishErrors(kinds map[string]connect.StreamType) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			contentType := r.Header.Get("Content-Type")
			switch {
			case r.ProtoMajor > 1 && lane.IsNativeGRPC(contentType) && kinds[r.URL.Path]&connect.StreamTypeClient == 0:
				next.ServeHTTP(&bareStatus{observed: observed{ResponseWriter: w}, fields: len(w.Header())}, r)
			case strings.HasPrefix(contentType, "application/grpc"), strings.HasPrefix(contentType, "application/connect+"):
				next.ServeHTTP(w, r)
			default:
				e := &errorLine{ResponseWriter: w}
				next.ServeHTTP(e, r.WithContext(context.WithValue(r.Context(), errorLineKey{}, e)))
			}
		})
	}
}

// bareStatus is a response of gRPC which, where it is nothing but a failure, has its trailer in
// the header.
type bareStatus struct {
	observed
	fields int // Of the header, when connecthttp had not seen it.
}

// Flush implements http.Flusher.
func (b *bareStatus) Flush() { _ = b.FlushError() } // As http.Flusher has it: the next write tells.

// FlushError is Flush for http.ResponseController. connecthttp calls it when it has set the
// trailer. A header that is all of the response goes out with its end.
func (b *bareStatus) FlushError() error {
	if !b.begun && b.foldFailure() {
		return nil
	}
	return b.observed.FlushError()
}

// foldFailure puts the trailer into the header, if it tells of a failure and the header has
// nothing else to tell.
func (b *bareStatus) foldFailure() bool {
	header, others := b.Header(), 0
	trailer := make(http.Header)
	for key, values := range header {
		name, ok := strings.CutPrefix(key, http.TrailerPrefix)
		switch {
		case ok:
			trailer[name] = values
		case key != "Content-Type" && key != "Grpc-Encoding" && key != "Grpc-Accept-Encoding":
			others++
		}
	}
	if status := trailer.Get("Grpc-Status"); status == "" || status == "0" || others > b.fields {
		return false
	}
	for name, values := range trailer {
		delete(header, http.TrailerPrefix+name)
		header[name] = values
	}
	header["Content-Length"], header["Date"] = nil, nil // Else they are added; the lane has none.
	return true
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
