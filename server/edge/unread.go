package edge

import (
	"net/http"
	"time"

	"connectrpc.com/connect/v2"
)

// LimitAnswers ends answers over HTTP/2 that nobody reads, where net/http serves it: a handler
// that writes to a stream whose window is full waits for ever. An answer over HTTP/1.1 ends with
// its connection, see package connections. Streams of responses have package gather.
func LimitAnswers(kinds map[string]connect.StreamType, timeout time.Duration) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor > 1 && kinds[r.URL.Path]&connect.StreamTypeServer == 0 {
				w = &limitedAnswer{ResponseWriter: w, timeout: timeout}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// limitedAnswer is a response whose time to be read runs from its begin on.
type limitedAnswer struct {
	http.ResponseWriter
	timeout time.Duration
	begun   bool
}

func (a *limitedAnswer) begin() {
	if !a.begun {
		a.begun = true
		_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(a.timeout)) // net/http has it.
	}
}

func (a *limitedAnswer) WriteHeader(status int) {
	a.begin()
	a.ResponseWriter.WriteHeader(status)
}

func (a *limitedAnswer) Write(p []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (a *limitedAnswer) Flush() {
	a.begin()
	_ = http.NewResponseController(a.ResponseWriter).Flush() // As http.Flusher has it: the next write tells.
}

// Unwrap lets http.ResponseController reach the connection.
func (a *limitedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
