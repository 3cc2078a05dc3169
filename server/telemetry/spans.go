package telemetry

import (
	"context"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Parent is what a caller says of its own span.
type Parent struct {
	TraceID trace.TraceID // Zero where it says nothing.
	Sampled bool
}

// Sampler decides of which calls spans are made.
type Sampler func(Parent) bool

// SampleAsParent makes spans of calls whose callers do, and of those that say nothing.
func SampleAsParent(parent Parent) bool { return parent.Sampled || !parent.TraceID.IsValid() }

// TraceInterceptor makes a span of each call that is sampled. The others cost nothing: they are
// decided about before there is anything to allocate. So the provider samples all that it is
// given.
func TraceInterceptor(provider trace.TracerProvider, sampled Sampler) (connect.ServerInterceptor, error) {
	traced, err := otelconnect.NewServerInterceptor(
		otelconnect.WithTracerProvider(provider),
		otelconnect.WithPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
		otelconnect.WithTrustRemote(),
		otelconnect.WithoutMetrics(),
	)
	if err != nil {
		return nil, err
	}
	return func(next connect.ServerFunc) connect.ServerFunc {
		inSpan := traced(next)
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			call, _ := connect.CallInfoForServerContext(ctx)
			if !sampled(parentOf(call.RequestHeader().Get("Traceparent"))) {
				return next(ctx, spec, stream)
			}
			if spec.Schema == nil {
				spec.Procedure = "/" + OtherMethod // What was asked for may be anything.
			}
			return inSpan(ctx, spec, stream)
		}
	}, nil
}

// parentOf reads a traceparent, https://www.w3.org/TR/trace-context/: version, trace id, span
// id and flags. One that is not valid says nothing.
func parentOf(header string) Parent {
	const size = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if len(header) < size || header[2] != '-' || header[35] != '-' || header[52] != '-' {
		return Parent{}
	}
	id, err := trace.TraceIDFromHex(header[3:35])
	flags := strings.IndexByte("0123456789abcdef", header[54])
	if err != nil || flags < 0 {
		return Parent{}
	}
	return Parent{TraceID: id, Sampled: flags&1 == 1}
}
