package server_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/server/telemetry"
	"github.com/example/userd/server/wire"
)

const (
	sampledParent   = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	unsampledParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
)

// startTraced starts a server whose spans, and those of its store, go to a recorder.
func startTraced(t *testing.T) (*servertest.Server, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	running := servertest.Start(t, func(config *server.Config) {
		config.Store = telemetry.NewOperations(prometheus.NewRegistry()).MeasureStore(servertest.NewStore(t), "sqlite")
		config.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	})
	return running, spans
}

// getAs calls GetUser with a traceparent, for a user who may not be there.
func getAs(t *testing.T, running *servertest.Server, traceparent string) {
	t.Helper()
	ctx, call := connect.NewClientContext(t.Context())
	call.RequestHeader().Set("Traceparent", traceparent)
	if _, err := running.Client(t, grpcBinary.options...).GetUser(ctx, &userv1.GetUserRequest{UserId: someID}); err != nil && connect.CodeOf(err) != connect.CodeNotFound {
		t.Error(err)
	}
}

// A span of a call is below that of its caller, and what the store does below that.
func TestSpansFollowTheirCaller(t *testing.T) {
	t.Parallel()
	running, spans := startTraced(t)
	getAs(t, running, sampledParent)
	if err := running.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := spans.Ended()
	if len(ended) != 2 {
		t.Fatalf("there are %d spans", len(ended))
	}
	below, call := ended[0], ended[1]
	if call.Name() != "user.v1.UserService/GetUser" || call.Parent().SpanID().String() != "00f067aa0ba902b7" {
		t.Errorf("the call is %s below %s", call.Name(), call.Parent().SpanID())
	}
	if below.Name() != "sqlite get" || below.Parent().SpanID() != call.SpanContext().SpanID() {
		t.Errorf("the operation of the store is %s below %s", below.Name(), below.Parent().SpanID())
	}
	for _, span := range ended {
		if id := span.SpanContext().TraceID().String(); id != "4bf92f3577b34da6a3ce929d0e0e4736" {
			t.Errorf("%s is of trace %s", span.Name(), id)
		}
	}
}

// What a caller asks for that is not there is no name of a span: it may be anything.
func TestSpansOfUnknownRPCsHaveOneName(t *testing.T) {
	t.Parallel()
	running, spans := startTraced(t)
	do(t, servertest.HTTP2(t), http.MethodPost, running.URL+"/user.v1.UserService/"+private, "{}",
		"Content-Type", "application/json", "Traceparent", sampledParent)
	if err := running.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, span := range spans.Ended() {
		if text := fmt.Sprint(span.Name(), span.Attributes(), span.Status()); strings.Contains(text, private) || span.Name() != telemetry.OtherMethod {
			t.Errorf("a span is %s", text)
		}
	}
}

func TestCallersWhoDoNotSampleGetNoSpans(t *testing.T) {
	t.Parallel()
	running, spans := startTraced(t)
	getAs(t, running, unsampledParent)
	if err := running.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if started := spans.Started(); len(started) > 0 {
		t.Errorf("there are %d spans", len(started))
	}
}

// Tracing costs a call nothing that is not sampled: neither the call nor the operation of the
// store allocates for it.
func TestCallsThatAreNotSampledAllocateNothingForTraces(t *testing.T) {
	allocs := func(tracer bool) float64 {
		users := servertest.NewStore(t)
		config := server.Config{Store: users}
		if tracer {
			config.Store = telemetry.NewOperations(prometheus.NewRegistry()).MeasureStore(users, "sqlite")
			config.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()))
		}
		running, err := server.New(config)
		if err != nil {
			t.Fatal(err)
		}
		c := &chain{Server: running}
		stream := c.stream(t, wire.Codecs()[0], &userv1.GetUserRequest{UserId: someID})
		stream.info.RequestHeader().Set("Traceparent", unsampledParent)
		return testing.AllocsPerRun(500, func() {
			if err := stream.call(context.Background(), userv1connect.UserServiceGetUserProcedure); err != nil {
				t.Fatal(err)
			}
		})
	}
	if without, with := allocs(false), allocs(true); with > without*raceAllocs {
		t.Errorf("a call allocates %v times, without tracing %v", with, without)
	}
}
