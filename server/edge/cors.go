package edge

import (
	"net/http"
	"time"

	connectcors "connectrpc.com/cors"
	"github.com/rs/cors"
)

// corsMaxAge is how long browsers may keep what a preflight has answered.
const corsMaxAge = 2 * time.Hour

// AllowOrigins lets pages of these origins call, with the headers that the
// protocols need and no credentials, and read these headers of answers besides theirs.
// Pages of other origins get no answer that their browser would let them read.
func AllowOrigins(origins, exposed []string) Middleware {
	if len(origins) == 0 {
		return func(next http.Handler) http.Handler { return next }
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: connectcors.AllowedMethods(),
		AllowedHeaders: append(connectcors.AllowedHeaders(),
			"Authorization", "Cache-Control", "If-None-Match", "X-Request-Id", "Traceparent", "Tracestate", "Baggage"),
		ExposedHeaders: append(connectcors.ExposedHeaders(), exposed...),
		MaxAge:         int(corsMaxAge.Seconds()),
	}).Handler
}
