package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
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
	s.config.Registry.MustRegister(http2Metrics{s.engine.Stats()})
	return nil
}

// newLane is the fast way for unary calls, with the options that connecthttp has.
func (s *Server) newLane(rpc *connect.Server) *lane.Lane {
	config := lane.Config{
		Server:           rpc,
		AllowsHost:       s.hosts.allows,
		Codecs:           codecs(),
		Compressors:      compressors(s.config.MaxMessageBytes),
		CompressMinBytes: compressMinBytes,
		ReadMaxBytes:     s.config.MaxMessageBytes,
	}
	if near, ok := s.config.Reader.(nearReader); ok {
		config.Ready = s.nearRead(near)
	}
	return lane.New(config)
}

// nearReader is a Reader that can tell whether it has an answer at hand. Cached is
// Lookup, but waits for nothing: it returns false instead.
type nearReader interface {
	Cached(id string, read cache.Read) (cache.Entry, bool)
}

// nearUser is what a nearReader has answered before a call of GetUser began.
type nearUser struct {
	request userv1.GetUserRequest
	id      string
	entry   cache.Entry
}

// CopyTo implements lane.Request.
func (u *nearUser) CopyTo(msg any) bool {
	request, ok := msg.(*userv1.GetUserRequest)
	if ok {
		request.Reset()
		request.UserId, request.MinVersion = u.request.GetUserId(), u.request.GetMinVersion()
	}
	return ok
}

type nearUserKey struct{}

// nearRead decides which calls are sure not to wait for anything: those of GetUser
// whose user is at hand. Lines of a log may have to wait, so there must be none.
func (s *Server) nearRead(near nearReader) func(context.Context, *connect.CallInfo, []byte) (context.Context, lane.Request, bool) {
	return func(ctx context.Context, call *connect.CallInfo, message []byte) (context.Context, lane.Request, bool) {
		if call.Spec.Procedure != userv1connect.UserServiceGetUserProcedure ||
			noCache(call) || s.config.Logger.Enabled(ctx, slog.LevelDebug) {
			return nil, nil, false
		}
		decode := decodeProto
		if call.Codec == connect.CodecNameJSON {
			decode = decodeJSON
		}
		user := new(nearUser)
		if !decode(message, &user.request) {
			return nil, nil, false
		}
		var ok bool
		user.id = canonicalID(user.request.GetUserId())
		if user.entry, ok = near.Cached(user.id, cache.Read{MinVersion: user.request.GetMinVersion()}); !ok {
			return nil, nil, false
		}
		return context.WithValue(ctx, nearUserKey{}, user), user, true
	}
}

// nearEntry is the entry that was found for a read before its call began, if it was.
func nearEntry(ctx context.Context, id string, minVersion int64) (cache.Entry, bool) {
	user, ok := ctx.Value(nearUserKey{}).(*nearUser)
	if !ok || user.id != id || user.request.GetMinVersion() != minVersion {
		return cache.Entry{}, false
	}
	return user.entry, true
}

// http2Metrics shows the counts of the engine as metrics.
type http2Metrics struct {
	stats *h2.Stats
}

var (
	http2Connections = describe("userd_http2_connections", "HTTP/2 connections that are open.")
	http2Streams     = describe("userd_http2_streams", "HTTP/2 streams that are open.")
	http2Opened      = describe("userd_http2_connections_total", "HTTP/2 connections so far.")
	http2Requests    = describe("userd_http2_requests_total", "HTTP/2 requests, by the way they took: inline, lane or handler.", "way")
	http2Refused     = describe("userd_http2_refused_streams_total", "Streams refused because too many were open.")
	http2Resets      = describe("userd_http2_resets_received_total", "Streams that their peer has reset.")
	http2Errors      = describe("userd_http2_errors_total", "Rules of HTTP/2 that peers broke, by what it has ended.", "ended")
	http2Floods      = describe("userd_http2_floods_total", "Connections ended for frames that bring nothing.")
	http2Timeouts    = describe("userd_http2_timeouts_total", "Connections and streams ended because their peer was silent or did not read.")
	http2Panics      = describe("userd_http2_panics_total", "Handlers that have panicked.")
)

// Describe implements prometheus.Collector.
func (m http2Metrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m http2Metrics) Collect(out chan<- prometheus.Metric) {
	count := func(desc *prometheus.Desc, n int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(desc *prometheus.Desc, n int64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n))
	}
	inline, calls := m.stats.Inline.Load(), m.stats.Direct.Load() // In this order: each is part of the next.
	requests := m.stats.Requests.Load()
	gauge(http2Connections, m.stats.ConnectionsOpen.Load())
	gauge(http2Streams, m.stats.StreamsOpen.Load())
	count(http2Opened, m.stats.Connections.Load())
	count(http2Requests, inline, "inline")
	count(http2Requests, calls-inline, "lane")
	count(http2Requests, requests-calls, "handler")
	count(http2Refused, m.stats.RefusedStreams.Load())
	count(http2Resets, m.stats.ResetsReceived.Load())
	count(http2Errors, m.stats.StreamErrors.Load(), "stream")
	count(http2Errors, m.stats.ConnectionErrors.Load(), "connection")
	count(http2Floods, m.stats.Floods.Load())
	count(http2Timeouts, m.stats.Timeouts.Load())
	count(http2Panics, m.stats.Panics.Load())
}
