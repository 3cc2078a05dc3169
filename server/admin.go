package server

import (
	"context"
	"io"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/edge"
	"github.com/example/userd/server/failure"
)

// adminScope is what requests to the admin listener need.
func adminScope(path string) auth.Scope {
	if isProbe(path) {
		return auth.Public
	}
	return auth.Admin
}

// isProbe reports whether a path is that of a probe: whoever runs it has no credentials.
func isProbe(path string) bool { return path == "/livez" || path == "/readyz" }

// readyTimeout is how long the store may take to say that it is there.
const readyTimeout = 2 * time.Second

// Admin returns the handler of the admin listener: metrics, probes and, where they
// are asked for, profiles.
// It is not for callers of the service.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.config.Registry, promhttp.HandlerOpts{}))
	if s.config.Profiles {
		mountProfiles(mux)
	}
	s.mountProbes(mux)
	return s.hosts.Handler(asksHealth(adminScope))(s.answerOptions(edge.Authorize(s.config.Auth, adminScope, nil)(mux)))
}

// asksHealth reports whether a request asks how the server is, which anybody may, for any host:
// load balancers ask for a name of their own, such as Envoy for that of its cluster. A page of
// whatever host (DNS rebinding) learns from the answer whether the server is ready, no more.
func asksHealth(need func(path string) auth.Scope) func(*http.Request) bool {
	return func(r *http.Request) bool { return need(r.URL.Path) == auth.Public || isOptionsProbe(r) }
}

// mountProbes serves /livez, which answers as long as the process does, and
// /readyz, which answers 200 when the service can be called.
func (s *Server) mountProbes(mux *http.ServeMux) {
	mux.HandleFunc("/livez", probe(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }))
	mux.HandleFunc("/readyz", probe(s.answerReady))
}

// probe answers GET and HEAD, and OPTIONS as well, by which HAProxy asks (option httpchk) where
// it is told a path and no method. What begins with 2 or 3 is good to it.
func probe(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions:
			w.Header().Set("Allow", probeMethods)
		default:
			w.Header().Set("Allow", probeMethods)
			http.Error(w, "this is a probe, to be asked by GET", http.StatusMethodNotAllowed)
			return
		}
		answer(w, r)
	}
}

const probeMethods = "GET, HEAD, OPTIONS"

// answerReady answers whether the service can be called.
func (s *Server) answerReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.isReady(ctx); err != nil {
		http.Error(w, failure.StatusOf(r.Context(), err).Message(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// isOptionsProbe reports whether a request is OPTIONS of "/", which is what HAProxy asks where it
// is told no path either, or of "*", which its documentation has as an example.
func isOptionsProbe(r *http.Request) bool {
	return r.Method == http.MethodOptions && (r.URL.Path == "/" || r.URL.Path == "*")
}

// answerOptions answers those as /readyz is answered.
func (s *Server) answerOptions(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isOptionsProbe(r) {
			w.Header().Set("Allow", "GET, HEAD, OPTIONS, POST") // Those of all that is here.
			s.answerReady(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// mountProfiles serves the profiles of the process, as package pprof has them, but
// not its command line, which may hold the password of a database.
func mountProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
