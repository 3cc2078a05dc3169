package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/example/userd/store"
	"github.com/example/userd/store/stats"
)

// Operations measures what databases are asked, and makes a span of it where the call that it
// is for has one. Names follow the semantic conventions of OpenTelemetry for databases.
type Operations struct{ databases []*database }

// database is one, with its operations: all from the start.
type database struct {
	system string
	byName map[string]*operation
}

// operation is what is asked again and again.
type operation struct {
	name       string
	attributes trace.SpanStartOption
	durations  [len(errorTypes)]lazyHistogram
}

// errorTypes are how an operation can end. What the database has been asked rightly and
// answered is no error, such as that there is no such user.
var errorTypes = [...]string{"", "unavailable", "conflict", "canceled", "timeout", "_OTHER"}

var operationBounds = nanoseconds(100*time.Microsecond, 250*time.Microsecond, 500*time.Microsecond,
	time.Millisecond, 2500*time.Microsecond, 5*time.Millisecond, 10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond,
	100*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond, time.Second, 5*time.Second)

// NewOperations adds the metrics of operations to a registry. What is measured is said then,
// before the registry is read.
func NewOperations(registry prometheus.Registerer) *Operations {
	o := new(Operations)
	registry.MustRegister(o)
	return o
}

func (o *Operations) add(system string, names ...string) *database {
	d := &database{system: system, byName: make(map[string]*operation)}
	for _, name := range names {
		op := &operation{name: name, attributes: trace.WithAttributes(
			attribute.String("db.system.name", system), attribute.String("db.operation.name", name))}
		op.duration(0)
		d.byName[name] = op
	}
	o.databases = append(o.databases, d)
	return d
}

var operationDuration = describe("db_client_operation_duration_seconds",
	"Time that the database or Redis took, with waiting for a connection.", "db_system_name", "db_operation_name", "error_type")

// Describe implements prometheus.Collector.
func (o *Operations) Describe(out chan<- *prometheus.Desc) { out <- operationDuration }

// Collect implements prometheus.Collector.
func (o *Operations) Collect(out chan<- prometheus.Metric) {
	for _, system := range o.databases {
		for _, op := range system.byName {
			for i, errorType := range errorTypes {
				if h := op.durations[i].Load(); h != nil {
					collected(out).durations(operationDuration, h.Snapshot(), system.system, op.name, errorType)
				}
			}
		}
	}
}

// underway is an operation that has begun.
type underway struct {
	*operation
	start time.Time
	span  trace.Span // Nil where the call has none.
}

// begin begins an operation. It allocates nothing where the call is not sampled.
func (d *database) begin(ctx context.Context, name string) (context.Context, underway) {
	u := underway{operation: d.byName[name], start: time.Now()}
	if parent := trace.SpanFromContext(ctx); parent.IsRecording() {
		ctx, u.span = parent.TracerProvider().Tracer("userd").Start(ctx, d.system+" "+name,
			trace.WithSpanKind(trace.SpanKindClient), u.attributes)
	}
	return ctx, u
}

func (u underway) end(err error) {
	kind := errorTypeOf(err)
	u.duration(kind).Observe(int64(time.Since(u.start)))
	if u.span == nil {
		return
	}
	if kind > 0 {
		u.span.SetAttributes(attribute.String("error.type", errorTypes[kind]))
		u.span.SetStatus(codes.Error, "")
	}
	u.span.End()
}

func (o *operation) duration(kind int) *stats.Histogram {
	return o.durations[kind].with(operationBounds)
}

// answers are errors that say what the database knows, and not that it has failed.
var answers = []error{
	store.ErrNotFound, store.ErrEmailTaken, store.ErrIDTaken, store.ErrExternalIDTaken, store.ErrUserDisabled,
	store.ErrVersionMismatch, store.ErrTooManyRoles, store.ErrTooManyAttributes, store.ErrInvalidCursor, store.ErrCursorExpired,
}

// errorTypeOf is an index of errorTypes.
func errorTypeOf(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, store.ErrUnavailable):
		return 1
	case errors.Is(err, store.ErrConflict):
		return 2
	case errors.Is(err, context.Canceled):
		return 3
	case errors.Is(err, context.DeadlineExceeded):
		return 4
	}
	for _, answer := range answers {
		if errors.Is(err, answer) {
			return 0
		}
	}
	return len(errorTypes) - 1
}

// ObserveRedis is for cache.Config.Observe.
func (o *Operations) ObserveRedis() func(context.Context, string) (context.Context, func(error)) {
	redis := o.add("redis", "read", "await", "acquire", "fill", "apply", "relay", "marks", "begin", "beat")
	return func(ctx context.Context, name string) (context.Context, func(error)) {
		ctx, u := redis.begin(ctx, name)
		return ctx, u.end
	}
}
