package server

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of the listener. WriteTimeout of http.Server stays unset: it would end long
// streams.
const (
	headerTimeout  = 5 * time.Second
	maxHeaderBytes = 64 << 10
	pingAfter      = 30 * time.Second
	pingTimeout    = 15 * time.Second
	readyTimeout   = 2 * time.Second
)

func (s *Server) httpServer(handler http.Handler) *gracefulServer {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.config.TLS != nil)
	protocols.SetUnencryptedHTTP2(s.config.TLS == nil)
	g := s.boundedServer(handler)
	g.Protocols = protocols
	g.TLSConfig = s.config.TLS
	g.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: s.config.MaxConcurrentStreams,
		SendPingTimeout:      pingAfter,
		PingTimeout:          pingTimeout,
	}
	return g
}

// boundedServer is a server with the limits that both listeners have.
func (s *Server) boundedServer(handler http.Handler) *gracefulServer {
	return makeGraceful(&gracefulServer{Server: http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       s.config.ReceiveTimeout, // But see patientBody.
		IdleTimeout:       s.config.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          connectionLog(s.config.Logger),
	}})
}

// routes is everything that the service's listener serves.
func (s *Server) routes(rpc *connect.Server) http.Handler {
	mux := http.NewServeMux()
	compressors := compressors(s.config.MaxMessageBytes)
	connecthttp.Mount(mux, rpc,
		connecthttp.WithCodecs(codecs()...),
		connecthttp.WithCompressors(compressors...),
		connecthttp.WithCompressMinBytes(compressMinBytes),
		connecthttp.WithReadMaxBytes(s.config.MaxMessageBytes))
	s.mountProbes(mux)
	mux.Handle("/", refuseUnknownPaths(http.NotFoundHandler()))
	types := streamTypes(rpc)
	handler := s.lane.Handler(translateWebText(refuseBadHeaders(rpc, compressors, checkFrames(withStreams(types, s.arrivals, s.config.SendTimeout, mux)))))
	return s.hosts.handler(allowOrigins(s.config.CORSOrigins, []string{"Etag", pageTokenTrailer}, refuseSlow(types, s.arrivals, handler)))
}

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
	return s.hosts.handler(mux)
}

// mountProbes serves /livez, which answers as long as the process does, and
// /readyz, which answers 200 when the service can be called.
func (s *Server) mountProbes(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := s.ready(ctx); err != nil {
			http.Error(w, statusOf(err).message, http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
}

// streamTypes are how many messages the RPCs send and take, by path.
func streamTypes(rpc *connect.Server) map[string]connect.StreamType {
	types := make(map[string]connect.StreamType)
	for spec := range rpc.Specs() {
		types[spec.Procedure] = spec.StreamType
	}
	return types
}

// connectionLog takes what net/http says of broken connections. That is the
// peers' doing, so it is detail.
func connectionLog(logger *slog.Logger) *log.Logger {
	return slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
}
