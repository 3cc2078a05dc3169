package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/h2"
)

// http2Metrics shows the counts of the engine as metrics.
type http2Metrics struct {
	stats *h2.Stats
}

// RegisterHTTP2 adds the metrics of the engine to a registry.
func RegisterHTTP2(registry prometheus.Registerer, stats *h2.Stats) {
	registry.MustRegister(http2Metrics{stats})
}

var (
	http2Connections = describe("userd_http2_connections", "HTTP/2 connections that are open.")
	http2Streams     = describe("userd_http2_streams", "HTTP/2 streams that are open.")
	http2Opened      = describe("userd_http2_connections_total", "HTTP/2 connections so far.")
	http2Requests    = describe("userd_http2_requests_total", "HTTP/2 requests, by the way they took: inline, lane or handler.", "way")
	http2Refused     = describe("userd_http2_refused_streams_total", "Streams refused because too many were open.")
	http2Resets      = describe("userd_http2_resets_received_total", "Streams that their peer has reset.")
	http2Errors      = describe("userd_http2_errors_total", "Rules of HTTP/2 that peers broke, by what it has ended.", "ended")
	http2Floods      = describe("userd_http2_floods_total", "Connections ended for frames that bring nothing.")
	http2Timeouts    = describe("userd_http2_timeouts_total", "Connections and streams ended because their peer was silent or did not read.")
	http2Panics      = describe("userd_http2_panics_total", "Panics while serving, most often of handlers.")
)

// Describe implements prometheus.Collector.
func (m http2Metrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m http2Metrics) Collect(out chan<- prometheus.Metric) {
	to := collected(out)
	to.gauge(http2Connections, float64(m.stats.ConnectionsOpen.Load()))
	to.gauge(http2Streams, float64(m.stats.StreamsOpen.Load()))
	to.count(http2Opened, m.stats.Connections.Load())
	to.count(http2Requests, m.stats.Inline.Load(), "inline")
	to.count(http2Requests, m.stats.Direct.Load(), "lane")
	to.count(http2Requests, m.stats.Handled.Load(), "handler")
	to.count(http2Refused, m.stats.RefusedStreams.Load())
	to.count(http2Resets, m.stats.ResetsReceived.Load())
	to.count(http2Errors, m.stats.StreamErrors.Load(), "stream")
	to.count(http2Errors, m.stats.ConnectionErrors.Load(), "connection")
	to.count(http2Floods, m.stats.Floods.Load())
	to.count(http2Timeouts, m.stats.Timeouts.Load())
	to.count(http2Panics, m.stats.Panics.Load())
}
