package body

import (
	"context"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/lane"
)

// Hold is what one request holds of a budget.
type Hold interface {
	// Received counts what has come of it; err is what came with it. An error is that it
	// is too much.
	Received(bytes int, err error) error
	// Release gives everything back.
	Release()
}

// Count has a budget count what has come of requests of one message, until they are
// answered. begin gets what ends the wait for the rest of a request, and that for the caller to
// read the answer, until its Hold is released. Rows of streams are small: see CheckFrames.
func Count(types map[string]connect.StreamType, begin func(r *http.Request, cut, unread func()) (context.Context, Hold)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, hold := begin(r, func() {
				_ = http.NewResponseController(w).SetReadDeadline(time.Now()) // A connection without deadlines waits for as long as requests may take to come.
			}, func() {
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now()) // And for as long as it may take to read.
			})
			defer hold.Release()
			r = r.WithContext(ctx)
			if types[r.URL.Path]&connect.StreamTypeClient == 0 {
				r = lane.WithBody(r, countedBody{r.Body, hold})
			}
			next.ServeHTTP(w, r)
		})
	}
}

type countedBody struct {
	body io.Reader
	hold Hold
}

func (b countedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if refused := b.hold.Received(n, err); refused != nil {
		return 0, refused
	}
	return n, err
}
