package telemetry

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/otelconnect"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/failure"
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

// rpcMetrics are the metrics of one RPC. Each is looked up by its labels once, when
// it is needed first: that costs more than a cached read.
type rpcMetrics struct {
	procedure string
	active    prometheus.Gauge
	vec       *prometheus.HistogramVec
	durations [len(protocolNames)][codes]atomic.Pointer[prometheus.Observer]
}

// codes is one more than the largest code; 0 is success.
const codes = int(connect.CodeUnauthenticated) + 1

var protocolNames = [...]string{connect.ProtocolNameGRPC, connect.ProtocolNameConnect, connect.ProtocolNameGRPCWeb}

func (m *callMetrics) of(procedure string) *rpcMetrics {
	return &rpcMetrics{procedure: procedure, active: m.active.WithLabelValues(procedure), vec: m.duration}
}

// duration is the histogram of the calls that end with a code, 0 for success.
func (m *rpcMetrics) duration(protocol string, code connect.Code) prometheus.Observer {
	index := slices.Index(protocolNames[:], protocol)
	if index < 0 || int(code) >= codes {
		return m.vec.WithLabelValues(m.procedure, protocol, codeName(code))
	}
	known := &m.durations[index][code]
	if observer := known.Load(); observer != nil {
		return *observer
	}
	observer := m.vec.WithLabelValues(m.procedure, protocol, codeName(code))
	known.Store(&observer)
	return observer
}

// Interceptor measures and logs every call. A line carries the
// procedure, the code, the duration, the request id and the user id, never a body
// or an email address.
func Interceptor(registry prometheus.Registerer, logger *slog.Logger) connect.ServerInterceptor {
	metrics := newCallMetrics(registry)
	return func(next connect.ServerFunc) connect.ServerFunc {
		var rpc atomic.Pointer[rpcMetrics] // Of what next serves: one RPC, or all that do not exist.
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			start := time.Now()
			measured := rpc.Load()
			if measured == nil {
				measured = metrics.of(procedureName(spec))
				rpc.Store(measured)
			}
			measured.active.Inc()
			observed := &observedStream{ServerStream: stream, many: spec.StreamType&connect.StreamTypeClient != 0}
			err := next(ctx, spec, observed)
			measured.active.Dec()
			duration := time.Since(start)
			call, _ := connect.CallInfoForServerContext(ctx)
			code := codeOf(err)
			measured.duration(call.Protocol, code).Observe(duration.Seconds())
			if level := levelOf(code, err); logger.Enabled(ctx, level) {
				logger.LogAttrs(ctx, level, "call",
					slog.String("procedure", measured.procedure), slog.String("code", codeName(code)),
					slog.Duration("duration", duration), slog.String("protocol", call.Protocol),
					slog.String("request_id", RequestID(call)), slog.String("user_id", observed.userID()),
					slog.String("principal", principalName(ctx)))
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

// observedStream keeps the request, for the log, where it is a single message.
type observedStream struct {
	connect.ServerStream
	many    bool
	request any
}

func (s *observedStream) Receive(msg any) error {
	if !s.many {
		s.request = msg
	}
	return s.ServerStream.Receive(msg)
}

// userID is the id of the user that the request is about, or "".
func (s *observedStream) userID() string {
	about, ok := s.request.(interface{ GetUserId() string })
	if !ok {
		return ""
	}
	id, err := uuid.Parse(about.GetUserId())
	if err != nil {
		return ""
	}
	return id.String()
}

// principalName is the name of the caller, or "" where it is not known.
func principalName(ctx context.Context) string {
	if principal := auth.PrincipalOf(ctx); principal != nil {
		return principal.Name
	}
	return ""
}

// RequestID is the id that the caller or a proxy gave the request, where it is one
// that cannot be mistaken for anything else in a log.
func RequestID(call *connect.CallInfo) string {
	id := call.RequestHeader().Get("X-Request-Id")
	if uuid.Validate(id) != nil {
		return ""
	}
	return id
}

// codeOf is the code of a call that has ended with err, 0 for success. That the
// caller has the answer already (304) is one.
func codeOf(err error) connect.Code {
	if err == nil || connecthttp.IsNotModifiedError(err) {
		return 0
	}
	return connect.CodeOf(err)
}

func codeName(code connect.Code) string {
	if code == 0 {
		return "ok"
	}
	return code.String()
}

// levelOf is the level at which a call is logged: what callers do is detail, what
// the service fails to do is not. That calls are refused for overload is said once, by
// package admission: a line for each would cost more than the refusal.
func levelOf(code connect.Code, err error) slog.Level {
	switch code {
	case connect.CodeInternal, connect.CodeUnknown, connect.CodeDataLoss:
		if failure.IsMalformed(err) {
			return slog.LevelDebug
		}
		return slog.LevelError
	case connect.CodeUnavailable, connect.CodeResourceExhausted:
		if failure.IsOverload(err) {
			return slog.LevelDebug
		}
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// TraceInterceptor makes a span of every call.
func TraceInterceptor(provider trace.TracerProvider) (connect.ServerInterceptor, error) {
	return otelconnect.NewServerInterceptor(
		otelconnect.WithTracerProvider(provider),
		otelconnect.WithPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
		otelconnect.WithTrustRemote(),
		otelconnect.WithoutMetrics(),
	)
}
