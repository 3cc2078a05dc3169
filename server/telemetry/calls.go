package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/prometheus/client_golang/prometheus"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/store/stats"
)

// Calls measures and logs calls. Names and labels of its metrics follow the semantic
// conventions of OpenTelemetry for RPC servers, and so do spans and the log: an RPC and a
// code have one name everywhere.
type Calls struct {
	log           *callLog
	slowConsumers prometheus.Counter
	accepted      map[string]prometheus.Counter // By kind of credential; nil where callers are not known.

	mu   sync.Mutex
	rpcs []*CallMetrics // That of OtherMethod, and those of the RPCs.
}

// OtherMethod stands for all RPCs that do not exist. Callers can ask for any name.
const OtherMethod = "_OTHER"

// MethodName is the name of an RPC by its procedure: user.v1.UserService/GetUser.
func MethodName(procedure string) string { return strings.TrimPrefix(procedure, "/") }

// NewCalls adds the metrics of calls to a registry.
func NewCalls(registry prometheus.Registerer, logger *slog.Logger) *Calls {
	c := &Calls{log: newCallLog(registry, logger), slowConsumers: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "userd_slow_consumers_total", Help: "Streams ended because their caller did not read them.",
	})}
	registry.MustRegister(c, c.slowConsumers)
	return c
}

// CountAccepted counts the calls that are let in, by the kind of their credentials. It is
// called before the first.
func (c *Calls) CountAccepted(registry prometheus.Registerer) {
	accepted := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "userd_auth_accepted_total", Help: "Calls let in, by the kind of their credentials.",
	}, []string{"kind"})
	registry.MustRegister(accepted)
	c.accepted = make(map[string]prometheus.Counter)
	for _, kind := range []string{"token", "certificate", "jwt"} {
		c.accepted[kind] = accepted.WithLabelValues(kind)
	}
}

// Expect makes the series of an RPC before its first call, so that they begin with 0.
func (c *Calls) Expect(spec connect.Spec) {
	rpc := c.Of(spec)
	for system := range systemNames {
		rpc.duration(system, 0)
	}
}

// Of is the metrics of an RPC.
func (c *Calls) Of(spec connect.Spec) *CallMetrics {
	name, streams := OtherMethod, false // Nobody knows of what kind these would be.
	if spec.Schema != nil {
		name, streams = MethodName(spec.Procedure), spec.StreamType != connect.StreamTypeUnary
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rpc := range c.rpcs {
		if rpc.name == name {
			return rpc
		}
	}
	rpc := &CallMetrics{
		calls: c, name: name, streams: streams, cached: cachedReads[spec.Procedure], bounds: callBounds,
		requests: stats.NewHistogram(sizeBounds), responses: stats.NewHistogram(sizeBounds),
	}
	if streams {
		rpc.bounds = streamBounds
	}
	c.rpcs = append(c.rpcs, rpc)
	return rpc
}

var (
	callBounds = nanoseconds(5*time.Microsecond, 10*time.Microsecond, 25*time.Microsecond, 50*time.Microsecond, // Of cached reads.
		100*time.Microsecond, 250*time.Microsecond, 500*time.Microsecond,
		time.Millisecond, 2500*time.Microsecond, 5*time.Millisecond, 10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond,
		100*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond,
		time.Second, 2500*time.Millisecond, 5*time.Second, 10*time.Second)
	streamBounds = nanoseconds(time.Millisecond, 10*time.Millisecond, 100*time.Millisecond,
		time.Second, 10*time.Second, time.Minute, 10*time.Minute, time.Hour, 6*time.Hour, 24*time.Hour)
	sizeBounds = []int64{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}
)

// CallMetrics are the metrics of one RPC.
type CallMetrics struct {
	calls     *Calls
	name      string
	streams   bool
	cached    bool    // Reads that the cache may answer: only those that fail or are slow have an id.
	bounds    []int64 // Of durations.
	active    atomic.Int64
	durations [len(systemNames)][codeCount]lazyHistogram
	requests  *stats.Histogram // Sizes.
	responses *stats.Histogram
}

// cachedReads are the RPCs that the cache may answer, in less time than an id takes.
var cachedReads = map[string]bool{
	userv1connect.UserServiceGetUserProcedure: true, userv1connect.UserServiceBatchGetUsersProcedure: true,
	userv1connect.UserServiceGetUserByEmailProcedure: true, userv1connect.UserServiceGetUserByExternalIdProcedure: true,
}

// codeCount is one more than the largest code; 0 is success.
const codeCount = int(connect.CodeUnauthenticated) + 1

// systemNames are what protocols are called: by OpenTelemetry gRPC-Web is gRPC.
var systemNames = [...]string{"grpc", "connectrpc"}

func systemOf(protocol string) int {
	if protocol == connect.ProtocolNameConnect {
		return 1
	}
	return 0
}

// duration is the histogram of the calls of a system that end with a code, 0 for success.
func (m *CallMetrics) duration(system int, code connect.Code) *stats.Histogram {
	return m.durations[system][code].with(m.bounds)
}

var (
	callDuration   = describe("rpc_server_call_duration_seconds", "Duration of unary calls.", "rpc_method", "rpc_system_name", "rpc_response_status_code")
	streamDuration = describe("rpc_server_stream_duration_seconds", "Duration of calls with a stream of requests or responses.", "rpc_method", "rpc_system_name", "rpc_response_status_code")
	activeCalls    = describe("rpc_server_active_calls", "Calls under way, streams too.", "rpc_method")
	requestSize    = describe("rpc_server_request_size_bytes", "Size of the messages received, decompressed; of a stream each.", "rpc_method")
	responseSize   = describe("rpc_server_response_size_bytes", "Size of the messages sent, before compression; of a stream each.", "rpc_method")
)

// Describe implements prometheus.Collector.
func (c *Calls) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{callDuration, streamDuration, activeCalls, requestSize, responseSize} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *Calls) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rpc := range c.rpcs {
		rpc.collect(collected(out))
	}
}

func (m *CallMetrics) collect(to collected) {
	duration := callDuration
	if m.streams {
		duration = streamDuration
	}
	for system := range m.durations {
		for code := range m.durations[system] {
			if h := m.durations[system][code].Load(); h != nil {
				to.durations(duration, h.Snapshot(), m.name, systemNames[system], codeName(connect.Code(code)))
			}
		}
	}
	to.gauge(activeCalls, float64(m.active.Load()), m.name)
	to.sizes(requestSize, m.requests.Snapshot(), m.name)
	to.sizes(responseSize, m.responses.Snapshot(), m.name)
}

// Interceptor measures and logs every call.
func (c *Calls) Interceptor(next connect.ServerFunc) connect.ServerFunc {
	var known atomic.Pointer[CallMetrics] // Of what next serves: one RPC, or all that do not exist.
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		start := time.Now()
		rpc := known.Load()
		if rpc == nil {
			rpc = c.Of(spec)
			known.Store(rpc)
		}
		call, _ := connect.CallInfoForServerContext(ctx)
		if !rpc.cached {
			identify(call)
		}
		observed := observedStreams.Get().(*observedStream)
		*observed = observedStream{ServerStream: stream, rpc: rpc, call: call, many: spec.StreamType&connect.StreamTypeClient != 0}
		if c.accepted != nil {
			c.accept(ctx)
		}
		rpc.active.Add(1)
		err := next(ctx, spec, observed)
		rpc.active.Add(-1)
		duration := time.Since(start)
		code := codeOf(err)
		if rpc.cached && (code != 0 && !failure.IsOverload(err) || duration >= slowCall) {
			identify(call)
		}
		rpc.duration(systemOf(call.Protocol), code).Observe(int64(duration))
		if code == connect.CodeResourceExhausted && errors.Is(err, failure.ErrSlowConsumer) {
			c.slowConsumers.Inc()
		}
		c.log.ended(ctx, observed, code, duration, err)
		if err != nil {
			keepTrailersOnly(call)
		}
		if spec.StreamType == connect.StreamTypeUnary {
			*observed = observedStream{} // The handler has returned, so that nobody has it.
			observedStreams.Put(observed)
		}
		return err
	}
}

// Refused measures a call that has ended with a code before it began, with a message of this
// size. Such calls have no lines in the log.
func (m *CallMetrics) Refused(ctx context.Context, protocol string, size int, code connect.Code, duration time.Duration) {
	if m.calls.accepted != nil {
		m.calls.accept(ctx)
	}
	m.requests.Observe(int64(size))
	m.duration(systemOf(protocol), code).Observe(int64(duration))
}

// accept counts the caller of a call. Health checks may have none.
func (c *Calls) accept(ctx context.Context) {
	if principal := auth.PrincipalOf(ctx); principal != nil {
		c.accepted[principal.Credential].Inc()
	}
}

// observedStream measures messages, and keeps the one that says which user the call is
// about, for the log.
type observedStream struct {
	connect.ServerStream
	rpc   *CallMetrics
	call  *connect.CallInfo
	many  bool
	about any
}

// observedStreams has those of calls that have ended.
var observedStreams = sync.Pool{New: func() any { return new(observedStream) }}

func (s *observedStream) Receive(msg any) error {
	if !s.many {
		s.about = msg
	}
	err := s.ServerStream.Receive(msg)
	if err == nil {
		s.rpc.requests.Observe(int64(s.call.ReceiveStats.Size))
	}
	return err
}

func (s *observedStream) Send(msg any) error {
	if created, ok := msg.(*userv1.CreateUserResponse); ok {
		s.about = created
	}
	err := s.ServerStream.Send(msg)
	if err == nil {
		s.rpc.responses.Observe(int64(s.call.SendStats.Size))
	}
	return err
}

// codeOf is the code of a call that has ended with err, 0 for success. That the
// caller has the answer already (304) is one.
func codeOf(err error) connect.Code {
	if err == nil || connecthttp.IsNotModifiedError(err) {
		return 0
	}
	if code := connect.CodeOf(err); int(code) < codeCount {
		return code
	}
	return connect.CodeUnknown // Of a service that Config.Register has added.
}

// codeName is the name that gRPC has for a code.
func codeName(code connect.Code) string {
	if code == 0 {
		return "OK"
	}
	return codeNames[code]
}

// codeNames are made once.
var codeNames = func() (names [codeCount]string) {
	for code := 1; code < codeCount; code++ {
		names[code] = strings.ToUpper(connect.Code(code).String())
	}
	return names
}()
