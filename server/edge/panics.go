package edge

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/store/guard"
)

// RecoverPanics answers requests whose handler panics where net/http serves them: it would
// end their connection without a word, and what it says for itself is taken for the doing of
// peers. Calls have package failure for that, and streams of HTTP/2 package h2. Handlers
// that may have begun an answer stand behind AbortBegun.
func RecoverPanics(logger *slog.Logger) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer answerPanic(logger, w, r)
			next.ServeHTTP(w, r)
		})
	}
}

// answerPanic is to be deferred.
func answerPanic(logger *slog.Logger, w http.ResponseWriter, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	notePanic(logger, r, cause)
	if r.ProtoMajor > 1 {
		panic(http.ErrAbortHandler) // It resets the stream.
	}
	clear(w.Header())
	w.Header().Set("Connection", "close")
	refuseAs(w, r, http.StatusInternalServerError, failure.Internal)
}

// notePanic logs and counts a panic, unless it is meant for net/http, which gets it.
func notePanic(logger *slog.Logger, r *http.Request, cause any) {
	if cause == http.ErrAbortHandler { // It is panicked with as it is.
		panic(cause)
	}
	panicked := guard.Caught(cause)
	logger.ErrorContext(r.Context(), "panic while serving", "peer", r.RemoteAddr,
		"panic", fmt.Sprint(panicked.Cause), "stack", string(panicked.Stack))
}

// AbortBegun ends the connection of HTTP/1.1 whose handler panics when its answer has begun,
// so that nobody takes that for a whole one. Other panics are for RecoverPanics.
func AbortBegun(logger *slog.Logger) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor > 1 {
				next.ServeHTTP(w, r)
				return
			}
			a := &observed{ResponseWriter: w}
			defer a.abortBegun(logger, r)
			next.ServeHTTP(a, r)
		})
	}
}

// observed is a response of which is known whether it has begun.
type observed struct {
	http.ResponseWriter
	begun bool
}

// abortBegun is to be deferred.
func (a *observed) abortBegun(logger *slog.Logger, r *http.Request) {
	if !a.begun {
		return
	}
	if cause := recover(); cause != nil {
		notePanic(logger, r, cause)
		panic(http.ErrAbortHandler)
	}
}

func (a *observed) WriteHeader(status int) {
	a.begun = a.begun || status >= http.StatusOK
	a.ResponseWriter.WriteHeader(status)
}

func (a *observed) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (a *observed) Flush() { _ = a.FlushError() } // As http.Flusher has it: the next write tells.

// FlushError is Flush as http.ResponseController has it.
func (a *observed) FlushError() error {
	a.begun = true
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (a *observed) Unwrap() http.ResponseWriter { return a.ResponseWriter }
