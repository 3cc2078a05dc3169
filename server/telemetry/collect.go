package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/store/stats"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// collected takes the metrics of a collector.
type collected chan<- prometheus.Metric

func (c collected) count(desc *prometheus.Desc, n int64, labels ...string) {
	c <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}

func (c collected) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	c <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// flag is a gauge that is 1 or 0.
func (c collected) flag(desc *prometheus.Desc, is bool, labels ...string) {
	value := 0.0
	if is {
		value = 1
	}
	c.gauge(desc, value, labels...)
}

// durations is a histogram of values in nanoseconds, shown in seconds.
func (c collected) durations(desc *prometheus.Desc, s stats.Snapshot, labels ...string) {
	c.histogram(desc, s, float64(time.Second), labels...)
}

// sizes is a histogram of values that are shown as they are.
func (c collected) sizes(desc *prometheus.Desc, s stats.Snapshot, labels ...string) {
	c.histogram(desc, s, 1, labels...)
}

func (c collected) histogram(desc *prometheus.Desc, s stats.Snapshot, unit float64, labels ...string) {
	within := make(map[float64]uint64, len(s.Bounds))
	for i, bound := range s.Bounds {
		within[float64(bound)/unit] = uint64(s.Within[i])
	}
	c <- prometheus.MustNewConstHistogram(desc, uint64(s.Count), float64(s.Sum)/unit, within, labels...)
}

// nanoseconds are bounds of a histogram of durations.
func nanoseconds(bounds ...time.Duration) []int64 {
	values := make([]int64, len(bounds))
	for i, bound := range bounds {
		values[i] = int64(bound)
	}
	return values
}

// lazyHistogram is a histogram of durations that is there from the first use on, so that its
// series is.
type lazyHistogram struct {
	atomic.Pointer[stats.Histogram]
}

// with returns the histogram, which has these bounds if it was not there.
func (l *lazyHistogram) with(bounds []int64) *stats.Histogram {
	if h := l.Load(); h != nil {
		return h
	}
	l.CompareAndSwap(nil, stats.NewHistogram(bounds))
	return l.Load()
}
