package server

import (
	"net/http"
	"net/http/pprof"
)

// mountProfiles serves the profiles of the process, as package pprof has them, but
// not its command line, which may hold the password of a database.
func mountProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
