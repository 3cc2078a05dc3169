package status

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/example/userd/gen/userd/admin/v1"
)

func TestQuantilesLieBetweenBounds(t *testing.T) {
	t.Parallel()
	h := histogram{bounds: []float64{0.001, 0.01, 0.1, math.Inf(1)}, within: []float64{50, 90, 99, 100}}
	for q, want := range map[float64]time.Duration{
		0.25: 500 * time.Microsecond,
		0.5:  time.Millisecond,
		0.7:  5500 * time.Microsecond,
		0.99: 100 * time.Millisecond,
		1:    100 * time.Millisecond, // No larger bound is known.
	} {
		if got := h.quantile(q).Round(time.Microsecond); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

// counts are metrics of a server that a test writes itself.
type counts struct {
	registry       *prometheus.Registry
	calls, streams *prometheus.HistogramVec
	active         *prometheus.GaugeVec
	hits           *prometheus.CounterVec
}

func newCounts() *counts {
	byCall := []string{"rpc_method", "rpc_system_name", responseCode}
	c := &counts{
		registry: prometheus.NewRegistry(),
		calls:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: callDuration, Buckets: []float64{0.001, 0.01}}, byCall),
		streams:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: streamDuration, Buckets: []float64{1, 10}}, byCall),
		active:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: activeCalls}, byCall[:1]),
		hits:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "userd_cache_hits_total"}, []string{"tier"}),
	}
	trusted := prometheus.NewGauge(prometheus.GaugeOpts{Name: cacheTrusted})
	c.registry.MustRegister(c.calls, c.streams, c.active, c.hits, trusted)
	for _, name := range []string{"Get", "List", "Idle"} {
		c.active.WithLabelValues(name)
	}
	c.streams.WithLabelValues("List", "grpc", "OK")
	return c
}

func (c *counts) look(t *testing.T, at time.Time) *look {
	t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return &look{at, newMetrics(families)}
}

func TestWhatHappenedBetweenTwoLooks(t *testing.T) {
	t.Parallel()
	s, c, start := New(Config{}), newCounts(), time.Now()
	c.calls.WithLabelValues("Get", "grpc", "OK").Observe(5) // Before, and no matter any more.
	c.hits.WithLabelValues("near").Add(1000)
	before := c.look(t, start)
	for range 6 {
		c.calls.WithLabelValues("Get", "grpc", "OK").Observe(0.001)
		c.calls.WithLabelValues("Get", "connectrpc", "NOT_FOUND").Observe(0.001)
	}
	c.streams.WithLabelValues("List", "grpc", "CANCELLED").Observe(100)
	c.active.WithLabelValues("List").Set(3)
	c.hits.WithLabelValues("near").Add(4)
	c.hits.WithLabelValues("redis").Add(2)
	got := s.response(before, c.look(t, start.Add(2*time.Second)))
	latency := &adminv1.Latency{P50: durationpb.New(500 * time.Microsecond), P99: durationpb.New(990 * time.Microsecond)}
	want := &adminv1.WatchStatusResponse{
		At: got.GetAt(), StartedAt: got.GetStartedAt(), Since: durationpb.New(2 * time.Second),
		Rpcs: []*adminv1.RpcStatus{
			{Name: "Get", CallsPerSecond: 6, ErrorsPerSecond: 3, Latency: latency},
			{Name: "List", CallsPerSecond: 0.5, ErrorsPerSecond: 0.5, Active: 3},
		},
		Errors:      []*adminv1.ErrorStatus{{Code: "CANCELLED", ErrorsPerSecond: 0.5}, {Code: "NOT_FOUND", ErrorsPerSecond: 3}},
		Unary:       latency,
		Cache:       &adminv1.CacheStatus{NearHitsPerSecond: 2, RedisHitsPerSecond: 1, RelayLag: durationpb.New(0)},
		Connections: &adminv1.ConnectionStatus{Streams: 3},
		Process:     &adminv1.ProcessStatus{},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestTheFirstMessageHasNoRates(t *testing.T) {
	t.Parallel()
	c := newCounts()
	c.calls.WithLabelValues("Get", "grpc", "OK").Observe(0.001)
	c.active.WithLabelValues("List").Set(1)
	got := New(Config{}).response(nil, c.look(t, time.Now()))
	if got.GetSince() != nil || got.GetUnary() != nil || len(got.GetRpcs()) != 1 || got.GetRpcs()[0].GetCallsPerSecond() != 0 {
		t.Errorf("the first message is %v", got)
	}
}
