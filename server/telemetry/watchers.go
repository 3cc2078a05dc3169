package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/store/stats"
)

// watcherMetrics shows the watchers.
type watcherMetrics struct{ stats func() stats.Watchers }

// RegisterWatchers adds the metrics of watchers to a registry.
func RegisterWatchers(registry prometheus.Registerer, stats func() stats.Watchers) {
	registry.MustRegister(watcherMetrics{stats})
}

var (
	watchers     = describe("userd_watchers", "Streams of WatchUsers, by state: those that follow the change log, and those that catch up with it.", "state")
	watchRefused = describe("userd_catching_up_refused_total", "Watchers refused because too many waited for the past.")
	watchEvents  = describe("userd_watch_events_total", "Events sent to watchers.")
	watchLag     = describe("userd_watch_lag_seconds", "Age of changes when they were read for the watchers that follow.")
)

// Describe implements prometheus.Collector.
func (m watcherMetrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m watcherMetrics) Collect(out chan<- prometheus.Metric) {
	to, now := collected(out), m.stats()
	to.gauge(watchers, float64(now.Following), "following")
	to.gauge(watchers, float64(now.CatchingUp), "catching_up")
	to.count(watchRefused, now.Refused)
	to.count(watchEvents, now.Events)
	to.durations(watchLag, now.Lag)
}
