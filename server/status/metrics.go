package status

import (
	"maps"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// metrics are what a registry holds, by name.
type metrics map[string]*dto.MetricFamily

func newMetrics(families []*dto.MetricFamily) metrics {
	m := make(metrics, len(families))
	for _, family := range families {
		m[family.GetName()] = family
	}
	return m
}

// label is one that a series must have.
type label struct{ name, value string }

// series are those of a metric that have all these labels.
func (m metrics) series(name string, labels ...label) []*dto.Metric {
	var series []*dto.Metric
	for _, metric := range m[name].GetMetric() {
		if !slices.ContainsFunc(labels, func(l label) bool { return labelOf(metric, l.name) != l.value }) {
			series = append(series, metric)
		}
	}
	return series
}

func labelOf(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// has reports whether there is a metric.
func (m metrics) has(name string) bool { return len(m[name].GetMetric()) > 0 }

// values are those of a label, in order.
func (m metrics) values(name, label string) []string {
	values := make(map[string]struct{})
	for _, metric := range m[name].GetMetric() {
		values[labelOf(metric, label)] = struct{}{}
	}
	return slices.Sorted(maps.Keys(values))
}

// sum adds what series have: values, and the counts of histograms.
func (m metrics) sum(name string, labels ...label) (sum float64) {
	for _, metric := range m.series(name, labels...) {
		sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
	}
	return sum
}

// count is sum as a whole number.
func (m metrics) count(name string, labels ...label) int64 { return int64(m.sum(name, labels...)) }

// histogram counts values of at most each bound, which are seconds. The last bound is infinite.
type histogram struct{ bounds, within []float64 }

// histogram adds histograms, whose bounds are the same.
func (m metrics) histogram(name string, labels ...label) (h histogram) {
	for _, metric := range m.series(name, labels...) {
		buckets := metric.GetHistogram().GetBucket()
		if h.bounds == nil {
			h = histogram{make([]float64, len(buckets)+1), make([]float64, len(buckets)+1)}
		}
		for i, bucket := range buckets {
			h.bounds[i] = bucket.GetUpperBound()
			h.within[i] += float64(bucket.GetCumulativeCount())
		}
		h.bounds[len(buckets)] = math.Inf(1)
		h.within[len(buckets)] += float64(metric.GetHistogram().GetSampleCount())
	}
	return h
}

// since is what has come to a histogram.
func (h histogram) since(before histogram) histogram {
	d := histogram{h.bounds, slices.Clone(h.within)}
	for i := range before.within {
		d.within[i] -= before.within[i]
	}
	return d
}

// total is how many values there are.
func (h histogram) total() float64 {
	if len(h.within) == 0 {
		return 0
	}
	return h.within[len(h.within)-1]
}

// quantile estimates a quantile as Prometheus does: values are spread evenly between two
// bounds, and none is larger than the last that is finite.
func (h histogram) quantile(q float64) time.Duration {
	rank := q * h.total()
	i := slices.IndexFunc(h.within, func(within float64) bool { return within >= rank })
	if i == len(h.bounds)-1 {
		return seconds(h.bounds[i-1])
	}
	lower, below := 0.0, 0.0
	if i > 0 {
		lower, below = h.bounds[i-1], h.within[i-1]
	}
	return seconds(lower + (h.bounds[i]-lower)*(rank-below)/(h.within[i]-below))
}

// seconds is a number of seconds.
func seconds(n float64) time.Duration { return time.Duration(math.Round(n * float64(time.Second))) }
