package edge

import (
	"net/http"

	"connectrpc.com/connect/v2"
)

// AnswerHead has a HEAD of an RPC answered as a GET of it, as RFC 9110 wants. The body is
// left out by the server that sends the answer, which knows what was asked for.
func AnswerHead(kinds map[string]connect.StreamType) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				if _, known := kinds[r.URL.Path]; known {
					r = r.WithContext(r.Context()) // A copy.
					r.Method = http.MethodGet
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}
