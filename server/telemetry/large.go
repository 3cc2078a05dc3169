package telemetry

import "github.com/prometheus/client_golang/prometheus"

// largeMetrics shows what large messages hold.
type largeMetrics struct {
	stats func() (held int, refused int64)
}

// RegisterLargeMessages adds the metrics of large messages to a registry. stats returns how
// many bytes they hold, and how often more were refused.
func RegisterLargeMessages(registry prometheus.Registerer, stats func() (held int, refused int64)) {
	registry.MustRegister(largeMetrics{stats})
}

var (
	largeBytes   = describe("userd_large_messages_bytes", "Bytes of messages of more than 128 KiB that are not handled yet.")
	largeRefused = describe("userd_large_messages_refused_total", "Large messages refused because there were too many at a time.")
)

// Describe implements prometheus.Collector.
func (m largeMetrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m largeMetrics) Collect(out chan<- prometheus.Metric) {
	to := collected(out)
	held, refused := m.stats()
	to.gauge(largeBytes, float64(held))
	to.count(largeRefused, refused)
}
