package telemetry_test

import (
	"log/slog"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/telemetry"
)

// What the cache answers takes some microseconds. Were all of that one bucket, its quantiles would
// say how wide the bucket is, and not whether reads have become ten times as slow.
func TestDurationsOfCachedReadsAreToldApart(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	calls := telemetry.NewCalls(registry, slog.New(slog.DiscardHandler))
	read := calls.Of(connect.Spec{Procedure: userv1connect.UserServiceGetUserProcedure})
	for _, duration := range []time.Duration{3 * time.Microsecond, 30 * time.Microsecond} {
		read.Refused(t.Context(), connect.ProtocolNameGRPC, 0, connect.CodeNotFound, duration)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "rpc_server_call_duration_seconds" {
			continue
		}
		for _, bucket := range family.GetMetric()[0].GetHistogram().GetBucket() {
			if bucket.GetCumulativeCount() == 1 {
				return
			}
		}
		t.Errorf("3 and 30 µs are one to %v", family)
	}
}
