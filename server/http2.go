package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/h2"
	"github.com/example/userd/server/lane"
)

// Transport is what serves HTTP/2. Callers cannot tell one from the other, but by
// their speed.
type Transport string

const (
	Std    Transport = "std"    // net/http.
	Engine Transport = "engine" // Package h2.
)

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
		HeadersTooLarge:      http.HandlerFunc(refuseLargeHeaders),
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
	registerHTTP2(s.config.Registry, s.engine.Stats())
	return nil
}

// newLane is the fast way for unary calls, with the options that connecthttp has.
func (s *Server) newLane(rpc *connect.Server) *lane.Lane {
	return lane.New(lane.Config{
		Server:           rpc,
		AllowsHost:       s.hosts.allows,
		Codecs:           codecs(),
		Compressors:      compressors(s.config.MaxMessageBytes),
		CompressMinBytes: compressMinBytes,
		ReadMaxBytes:     s.config.MaxMessageBytes,
		Ready: func(ctx context.Context, call *connect.CallInfo, message []byte) (context.Context, lane.Request, bool) {
			return s.users.nearRead(ctx, call, message)
		},
	})
}
