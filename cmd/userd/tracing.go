package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"github.com/example/userd/server"
	"github.com/example/userd/server/telemetry"
)

// flushTimeout is how long the last spans may take to leave.
const flushTimeout = 2 * time.Second

// tracing has spans of calls exported as the OTEL_ variables of OpenTelemetry say, where they
// name an endpoint, and counted, and returns what stops that.
func tracing(ctx context.Context, config *server.Config, registry prometheus.Registerer) (stop func(), err error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" ||
		strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return func() {}, nil
	}
	if name, protocol := traceSetting("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("%s must be http/protobuf", name)
	}
	name, endpoint := traceSetting("ENDPOINT")
	if at, err := url.Parse(endpoint); err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, fmt.Errorf("%s must be a URL with http:// or https://, such as http://localhost:4318", name)
	}
	if config.Sampler, err = sampler(os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG")); err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	service, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(), // In Kubernetes the pod.
		resource.WithAttributes(semconv.ServiceName("userd"), semconv.ServiceVersion(version())),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the service for traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(newSpans(registry).processor(exporter)), sdktrace.WithResource(service), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	config.Tracer = provider
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		// A collector that is away must not keep the service from stopping.
		_ = provider.Shutdown(ctx)
	}, nil
}

// traceSetting is a variable of the exporter: what it says of traces wins over what it says of all
// that is exported.
func traceSetting(setting string) (name, value string) {
	for _, signal := range []string{"TRACES_", ""} {
		name = "OTEL_EXPORTER_OTLP_" + signal + setting
		if value = os.Getenv(name); value != "" {
			break
		}
	}
	return name, value
}

// traceErrorInterval is the time between two lines about spans that were not exported, at least.
const traceErrorInterval = 10 * time.Second

// traceErrors has the log say what goes wrong with traces. A collector that is away fails each
// batch of spans, which are many a second on a busy server.
type traceErrors struct {
	logger *slog.Logger

	mu      sync.Mutex
	next    time.Time // When the log may be told again.
	leftOut int       // What it was not told of since.
}

// Handle implements otel.ErrorHandler.
func (e *traceErrors) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if now.Before(e.next) {
		e.leftOut++
		return
	}
	e.logger.Warn("traces are not exported", "error", err, "left_out", e.leftOut)
	e.next, e.leftOut = now.Add(traceErrorInterval), 0
}

// traceLog takes what OpenTelemetry says of itself, and passes its errors on to the log. What else
// it says has the values of settings, which may be passwords.
type traceLog struct{ slog.Handler }

// Handle implements slog.Handler.
func (l traceLog) Handle(ctx context.Context, record slog.Record) error {
	told := slog.NewRecord(record.Time, record.Level, "OpenTelemetry: "+record.Message, 0)
	record.Attrs(func(attr slog.Attr) bool {
		if err, is := attr.Value.Any().(error); is {
			told.AddAttrs(slog.Any("error", err))
		}
		return true
	})
	return l.Handler.Handle(ctx, told)
}

// WithAttrs implements slog.Handler.
func (l traceLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l traceLog) WithGroup(string) slog.Handler { return l }

// sampler is what OTEL_TRACES_SAMPLER and its argument name. The server asks it before it
// begins a span.
func sampler(name, argument string) (telemetry.Sampler, error) {
	root, asParent := strings.CutPrefix(cmp.Or(name, "parentbased_always_on"), "parentbased_")
	ratio := 1.0
	switch root {
	case "always_on":
	case "always_off":
		ratio = 0
	case "traceidratio":
		var err error
		if ratio, err = strconv.ParseFloat(cmp.Or(argument, "1"), 64); err != nil || ratio < 0 || ratio > 1 {
			return nil, errors.New("OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1")
		}
	default:
		return nil, errors.New("OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, also with parentbased_ before it")
	}
	decide := sdktrace.TraceIDRatioBased(ratio)
	return func(parent telemetry.Parent) bool {
		id := parent.TraceID
		switch {
		case id.IsValid() && asParent:
			return parent.Sampled
		case !id.IsValid(): // The span will have another one, which is as random.
			binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
		}
		return decide.ShouldSample(sdktrace.SamplingParameters{ParentContext: context.Background(), TraceID: id}).Decision == sdktrace.RecordAndSample
	}, nil
}
