package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1errors"
	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/store/guard"
)

// slowCall is how long a unary call takes that is logged although it went well.
const slowCall = time.Second

// Lines about calls that failed or were slow, at most. A failure that meets all calls would
// else fill the disk.
const (
	linesAtOnce   = 50
	lineEvery     = 100 * time.Millisecond // Beyond them.
	leftOutDelays = time.Second            // Until the log says how many were left out.
)

// callLog writes a line for each call that failed or was slow, and for all where details are
// logged. A line has the RPC, the code and the reason, the duration, the peer, the ids of
// request, user and trace, and the name of the caller, never a body or an email address.
type callLog struct {
	logger  *slog.Logger
	leftOut prometheus.Counter

	mu      sync.Mutex
	used    int       // Lines of linesAtOnce.
	at      time.Time // When used was right.
	untold  int       // Lines left out that the log was not told of.
	telling bool      // It will be.
}

func newCallLog(registry prometheus.Registerer, logger *slog.Logger) *callLog {
	l := &callLog{logger: logger, leftOut: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "userd_log_calls_left_out_total", Help: "Lines about failed or slow calls that were not logged because there were too many.",
	})}
	registry.MustRegister(l.leftOut)
	return l
}

// ended logs a call that has ended with an error, or nil.
func (l *callLog) ended(ctx context.Context, s *observedStream, code connect.Code, duration time.Duration, err error) {
	level, message := levelOf(code, err), "call"
	failed := level > slog.LevelDebug
	switch {
	case failed:
		message = "call failed"
	case !s.rpc.streams && duration >= slowCall && code != connect.CodeCanceled:
		level, message = slog.LevelWarn, "call was slow"
	}
	if !l.logger.Enabled(ctx, level) || level > slog.LevelDebug && !l.take(time.Now()) {
		return
	}
	attributes := []slog.Attr{
		slog.String("procedure", s.rpc.name), slog.String("code", codeName(code)),
		slog.Float64("duration_ms", float64(duration.Microseconds())/1000), slog.String("protocol", s.call.Protocol),
		slog.String("peer", s.call.PeerAddr), slog.String("request_id", RequestID(s.call)),
		slog.String("user_id", s.userID()), slog.String("principal", auth.NameOf(ctx)),
	}
	if reason := userv1errors.Reason(err); reason != userv1.Reason_REASON_UNSPECIFIED {
		attributes = append(attributes, slog.String("reason", strings.TrimPrefix(reason.String(), "REASON_")))
	}
	if id := traceID(ctx, s.call); id.IsValid() {
		attributes = append(attributes, slog.String("trace_id", id.String()))
	}
	if cause := errors.Unwrap(err); cause != nil && (failed || code == connect.CodeDeadlineExceeded) {
		attributes = append(attributes, slog.String("cause", cause.Error()))
	}
	l.logger.LogAttrs(ctx, level, message, attributes...)
}

// take reports whether a line may be written. If not, the log is told of it a little later.
func (l *callLog) take(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.at) { // The clock was set back.
		l.at = now
	}
	regained := now.Sub(l.at) / lineEvery
	l.used = max(0, l.used-int(min(regained, linesAtOnce)))
	l.at = l.at.Add(regained * lineEvery)
	if l.used < linesAtOnce {
		l.used++
		return true
	}
	l.leftOut.Inc()
	l.untold++
	if !l.telling {
		l.telling = true
		guard.Timer(leftOutDelays, l.tell)
	}
	return false
}

// tell says how many lines were left out.
func (l *callLog) tell() {
	l.mu.Lock()
	lines := l.untold
	l.untold, l.telling = 0, false
	l.mu.Unlock()
	l.logger.Warn("more calls failed or were slow than the log has lines for", "left_out", lines)
}

// levelOf is the level at which a call is logged: what callers do is detail, what
// the service fails to do is not. That calls are refused for overload is said once, by
// package admission: a line for each would cost more than the refusal. That they end with
// the server is no failure.
func levelOf(code connect.Code, err error) slog.Level {
	switch code {
	case connect.CodeInternal, connect.CodeUnknown, connect.CodeDataLoss:
		if failure.IsMalformed(err) {
			return slog.LevelDebug
		}
		return slog.LevelError
	case connect.CodeUnavailable, connect.CodeResourceExhausted:
		if failure.IsOverload(err) || errors.Is(err, failure.ErrDraining) {
			return slog.LevelDebug
		}
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// userID is the id of the user that the call is about, or "".
func (s *observedStream) userID() string {
	var text string
	switch m := s.about.(type) {
	case *userv1.CreateUserResponse:
		text = m.GetUser().GetId()
	case *userv1.UpdateUserRequest:
		text = m.GetUpdate().GetUserId()
	case interface{ GetUserId() string }:
		text = m.GetUserId()
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return ""
	}
	return id.String()
}

// traceID is the id of the trace that the call is a part of, by its span or its caller.
func traceID(ctx context.Context, call *connect.CallInfo) trace.TraceID {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID()
	}
	return parentOf(call.RequestHeader().Get("Traceparent")).TraceID
}

// RequestIDHeader has the id of a request, and of its answer.
const RequestIDHeader = "X-Request-Id"

// RequestID is the id of a request: the one that its answer has, else that of the caller or a
// proxy, where it is one that cannot be mistaken for anything else in a log.
func RequestID(call *connect.CallInfo) string {
	if id := call.ResponseHeader().Get(RequestIDHeader); id != "" {
		return id
	}
	id := call.RequestHeader().Get(RequestIDHeader)
	if uuid.Validate(id) != nil {
		return ""
	}
	return id
}

// identify gives the answer to a request its id, which is made where the request has none.
func identify(call *connect.CallInfo) {
	id := RequestID(call)
	if id == "" {
		id = uuid.NewString()
	}
	call.ResponseHeader().Set(RequestIDHeader, id)
}

// keepTrailersOnly puts the id of a call of gRPC that has failed where its status is: with
// nothing in the header it is answered in one frame, as it would be without an id.
func keepTrailersOnly(call *connect.CallInfo) {
	if id := call.ResponseHeader().Get(RequestIDHeader); id != "" && call.Protocol != connect.ProtocolNameConnect {
		call.ResponseHeader().Delete(RequestIDHeader)
		call.ResponseTrailer().Set(RequestIDHeader, id)
	}
}
