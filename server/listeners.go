package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/connections"
	"github.com/example/userd/server/edge"
	"github.com/example/userd/server/h2"
	"github.com/example/userd/server/lane"
	"github.com/example/userd/server/telemetry"
)

// Limits of the listener. WriteTimeout of http.Server stays unset: it would end long
// streams.
const (
	headerTimeout  = 5 * time.Second
	maxHeaderBytes = 64 << 10
	pingAfter      = 30 * time.Second
	pingTimeout    = 15 * time.Second
	// AdminConnections is the most connections at a time of the admin listener.
	AdminConnections = 32
)

func (s *Server) httpServer(handler http.Handler) *edge.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.config.TLS != nil)
	protocols.SetUnencryptedHTTP2(s.config.TLS == nil)
	if s.config.MaxConnectionAge > 0 {
		handler = edge.LetOldGo(handler)
	}
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
func (s *Server) boundedServer(handler http.Handler) *edge.Server {
	g := edge.NewServer(edge.RecoverPanics(s.config.Logger)(handler))
	g.ReadHeaderTimeout = headerTimeout
	g.ReadTimeout = s.config.ReceiveTimeout // Streams of requests lift it: see body.AwaitMessages.
	g.IdleTimeout = s.config.IdleTimeout
	g.MaxHeaderBytes = maxHeaderBytes
	g.ConnContext = s.connContext()
	g.ErrorLog = connectionLog(s.config.Logger)
	g.DisableGeneralOptionsHandler = true // It says that all is well.
	return g
}

// connContext is what connections remember of themselves and of their callers, or
// nil.
func (s *Server) connContext() func(context.Context, net.Conn) context.Context {
	ages, knows := s.config.MaxConnectionAge > 0, s.config.Auth != nil
	switch {
	case ages && knows:
		return func(ctx context.Context, nc net.Conn) context.Context {
			return auth.ConnContext(connections.ConnContext(ctx, nc), nc)
		}
	case ages:
		return connections.ConnContext
	case knows:
		return auth.ConnContext
	}
	return nil
}

// chooseHTTP2 sets up what serves HTTP/2.
func (s *Server) chooseHTTP2(handler http.Handler) error {
	switch s.config.HTTP2 {
	case Std:
		return nil
	case Engine:
	default:
		return fmt.Errorf("HTTP/2 is served by %q or %q, not by %q", Std, Engine, s.config.HTTP2)
	}
	s.engine = h2.New(h2.Config{
		Handler:              handler,
		Direct:               s.lane,
		FitHeader:            lane.FitHeader,
		ConnContext:          s.connContext(),
		Served:               func(nc net.Conn, c h2.Conn) { s.connections.Served(nc, c) },
		HeadersTooLarge:      http.HandlerFunc(s.refusals.LargeHeaders),
		Logger:               s.config.Logger,
		MaxConcurrentStreams: s.config.MaxConcurrentStreams,
		MaxHeaderBytes:       maxHeaderBytes,
		HeaderTimeout:        headerTimeout,
		ReadTimeout:          s.config.ReceiveTimeout,
		IdleTimeout:          s.config.IdleTimeout,
		PingAfter:            pingAfter,
		PingTimeout:          pingTimeout,
		WriteTimeout:         s.config.SendTimeout,
	})
	s.http.Protocols.SetUnencryptedHTTP2(false)
	s.http.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": s.engine.TLSNextProto}
	telemetry.RegisterHTTP2(s.config.Registry, s.engine.Stats())
	return nil
}

// connectionLog takes what net/http says of broken connections. That is the
// peers' doing, so it is detail.
func connectionLog(logger *slog.Logger) *log.Logger {
	return slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
}
