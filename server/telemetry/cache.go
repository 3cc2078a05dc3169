package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/cache"
)

// cacheMetrics shows the counts of a cache as metrics.
type cacheMetrics struct {
	stats func() cache.Stats
}

// RegisterCache adds the metrics of a cache to a registry.
func RegisterCache(registry prometheus.Registerer, stats func() cache.Stats) {
	registry.MustRegister(cacheMetrics{stats})
}

var (
	cacheHits      = describe("userd_cache_hits_total", "Users read from the cache, by tier.", "tier")
	cacheMisses    = describe("userd_cache_misses_total", "Users that were not in the cache, or not to be trusted there.")
	storeReads     = describe("userd_cache_store_reads_total", "Users read from the store.")
	leasesLost     = describe("userd_cache_leases_lost_total", "Users read from the store that came too late for the cache.")
	appliesLost    = describe("userd_cache_applies_lost_total", "Writes that the cache did not learn of at once; the relay tells it.")
	cacheCorrupt   = describe("userd_cache_corrupt_total", "Cached values that were damaged or foreign, and replaced.")
	cacheErrors    = describe("userd_cache_errors_total", "What went wrong with Redis, by cause, as the log names it.", "cause")
	changesRelayed = describe("userd_cache_relayed_total", "Changes that were relayed from the change log.")
	relayLag       = describe("userd_cache_relay_lag_seconds", "Time between the last change relayed and its relay.")
	cacheTrusted   = describe("userd_cache_trusted", "1 when reads may come from the cache.")
	cacheStaleness = describe("userd_cache_staleness_seconds", "How old cached reads can be now; 0 when not trusted.")
)

// Describe implements prometheus.Collector.
func (m cacheMetrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m cacheMetrics) Collect(out chan<- prometheus.Metric) {
	stats := m.stats()
	to := collected(out)
	to.count(cacheHits, stats.NearHits, "near")
	to.count(cacheHits, stats.SharedHits, "redis")
	to.count(cacheMisses, stats.Misses)
	to.count(storeReads, stats.StoreReads)
	to.count(leasesLost, stats.LeasesLost)
	to.count(appliesLost, stats.AppliesLost)
	to.count(cacheCorrupt, stats.Corrupt)
	for cause, n := range stats.Errors {
		to.count(cacheErrors, n, cause)
	}
	to.count(changesRelayed, stats.Relayed)
	to.gauge(relayLag, stats.RelayLag.Seconds())
	to.gauge(cacheStaleness, stats.Staleness.Seconds())
	trusted := 0.0
	if stats.Trusted {
		trusted = 1
	}
	to.gauge(cacheTrusted, trusted)
}
