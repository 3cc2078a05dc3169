// Package openapi describes the unary RPCs, as they are called with JSON over HTTP, for
// programs that make clients and pages of such a description: OpenAPI 3.1, at /openapi.yaml
// and /openapi.json. It tells nothing of users and needs no credentials.
//
// Package generate makes it from the schema (make generate), and CI checks that it is of the
// schema. examples.json has the calls that it shows, which a test makes.
package openapi

import (
	_ "embed"
	"net/http"
	"sync"
	"time"

	"github.com/example/userd/server/static"
)

//go:embed openapi.json
var inJSON []byte

//go:embed openapi.yaml
var inYAML []byte

// files are the descriptions by their paths. Most servers are never asked for them.
var files = sync.OnceValue(func() map[string]*static.File {
	return map[string]*static.File{
		"/openapi.json": static.NewFile("application/json", inJSON),
		"/openapi.yaml": static.NewFile("application/yaml", inYAML),
	}
})

// Handler serves the description, and leaves other requests to next. It may take as long as
// the timeout to be sent.
func Handler(timeout time.Duration) func(next http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/openapi.json" && r.URL.Path != "/openapi.yaml" {
				next.ServeHTTP(w, r)
				return
			}
			// A connection without deadlines is closed by its server instead.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout))
			files()[r.URL.Path].Serve(w, r)
		})
	}
}
