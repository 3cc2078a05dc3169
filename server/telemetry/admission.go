package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/admission"
)

// admissionMetrics shows what became of the calls of each class.
type admissionMetrics struct {
	stats func() []admission.Stats
}

// RegisterAdmission adds the metrics of admission to a registry.
func RegisterAdmission(registry prometheus.Registerer, stats func() []admission.Stats) {
	registry.MustRegister(admissionMetrics{stats})
}

var (
	admissionBegun   = describe("userd_admission_in_flight", "Calls under way in the store, by class.", "class")
	admissionWaiting = describe("userd_admission_waiting", "Calls that wait until the store can do them, by class.", "class")
	admissionRefused = describe("userd_admission_refused_total", "Calls refused because there were more than the store can do, by class.", "class")
	admissionYielded = describe("userd_admission_yielded_total", "Of the calls refused, those of the caller with the most in favour of others, by class.", "class")
	admissionWaits   = describe("userd_admission_wait_seconds", "Time that calls have waited until the store was given them, by class.", "class")
)

// Describe implements prometheus.Collector.
func (m admissionMetrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m admissionMetrics) Collect(out chan<- prometheus.Metric) {
	to := collected(out)
	for _, stats := range m.stats() {
		class := stats.Class.String()
		to.gauge(admissionBegun, float64(stats.Begun), class)
		to.gauge(admissionWaiting, float64(stats.Waiting), class)
		to.count(admissionRefused, stats.Refused, class)
		to.count(admissionYielded, stats.Yielded, class)
		out <- histogramOf(stats.Waits, class)
	}
}

func histogramOf(waits admission.Waits, class string) prometheus.Metric {
	within := make(map[float64]uint64)
	for i, bound := range admission.WaitBounds {
		within[bound.Seconds()] = uint64(waits.Within[i])
	}
	return prometheus.MustNewConstHistogram(admissionWaits, uint64(waits.Calls), waits.Total.Seconds(), within, class)
}
