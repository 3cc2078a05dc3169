package server

import (
	"context"
	"log/slog"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/otelconnect"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// callMetrics are the metrics of every RPC. Names and labels follow the semantic
// conventions of OpenTelemetry for RPC servers.
type callMetrics struct {
	duration *prometheus.HistogramVec
	active   *prometheus.GaugeVec
}

func newCallMetrics(registry prometheus.Registerer) *callMetrics {
	m := &callMetrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rpc_server_call_duration_seconds",
			Help:    "Duration of RPCs, streams included, in seconds.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"rpc_method", "rpc_system_name", "rpc_response_status_code"}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rpc_server_active_calls",
			Help: "RPCs under way.",
		}, []string{"rpc_method"}),
	}
	registry.MustRegister(m.duration, m.active)
	return m
}

// telemetryInterceptor measures and logs every call. A line carries the
// procedure, the code, the duration, the request id and the user id, never a body
// or an email address.
func telemetryInterceptor(metrics *callMetrics, logger *slog.Logger) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			start := time.Now()
			procedure := procedureName(spec)
			active := metrics.active.WithLabelValues(procedure)
			active.Inc()
			observed := &observedStream{ServerStream: stream}
			err := next(ctx, spec, observed)
			active.Dec()
			duration := time.Since(start)
			call, _ := connect.CallInfoForServerContext(ctx)
			code := codeName(err)
			metrics.duration.WithLabelValues(procedure, call.Protocol, code).Observe(duration.Seconds())
			if level := levelOf(err); logger.Enabled(ctx, level) {
				logger.LogAttrs(ctx, level, "call",
					slog.String("procedure", procedure), slog.String("code", code),
					slog.Duration("duration", duration), slog.String("protocol", call.Protocol),
					slog.String("request_id", requestID(call)), slog.String("user_id", observed.userID()))
			}
			return err
		}
	}
}

// procedureName is the name of an RPC in metrics and logs. Callers can ask for any
// name; those that do not exist share one, which OpenTelemetry calls so.
func procedureName(spec connect.Spec) string {
	if spec.Schema == nil {
		return "_OTHER"
	}
	return spec.Procedure
}

// observedStream keeps the first message received, for the log.
type observedStream struct {
	connect.ServerStream
	first any
}

func (s *observedStream) Receive(msg any) error {
	if s.first == nil {
		s.first = msg
	}
	return s.ServerStream.Receive(msg)
}

// userID is the id that the first message is about, or "".
func (s *observedStream) userID() string {
	if about, ok := s.first.(interface{ GetUserId() string }); ok && uuid.Validate(about.GetUserId()) == nil {
		return canonicalID(about.GetUserId())
	}
	return ""
}

// requestID is the id that the caller or a proxy gave the request, where it is one
// that cannot be mistaken for anything else in a log.
func requestID(call *connect.CallInfo) string {
	id := call.RequestHeader().Get("X-Request-Id")
	if uuid.Validate(id) != nil {
		return ""
	}
	return id
}

func codeName(err error) string {
	if err == nil {
		return "ok"
	}
	return connect.CodeOf(err).String()
}

// levelOf is the level at which a call is logged: what callers do is detail, what
// the service fails to do is not.
func levelOf(err error) slog.Level {
	if err == nil {
		return slog.LevelDebug
	}
	switch connect.CodeOf(err) {
	case connect.CodeInternal, connect.CodeUnknown, connect.CodeDataLoss:
		return slog.LevelError
	case connect.CodeUnavailable, connect.CodeResourceExhausted:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// traceInterceptor makes a span of every call.
func traceInterceptor(provider trace.TracerProvider) (connect.ServerInterceptor, error) {
	return otelconnect.NewServerInterceptor(
		otelconnect.WithTracerProvider(provider),
		otelconnect.WithPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
		otelconnect.WithTrustRemote(),
		otelconnect.WithoutMetrics(),
	)
}
