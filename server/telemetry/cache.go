package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/cache"
)

// cacheMetrics shows the counts of a cache as metrics.
type cacheMetrics struct {
	stats func() cache.Stats
	redis bool
}

// RegisterCache adds the metrics of a cache to a registry. redis says whether it has one.
func RegisterCache(registry prometheus.Registerer, stats func() cache.Stats, redis bool) {
	registry.MustRegister(cacheMetrics{stats, redis})
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
	cacheEntries   = describe("userd_cache_entries", "Entries that this process holds.")
	cacheMax       = describe("userd_cache_entries_max", "Most entries that this process holds; of a Redis Cluster, for each of its nodes.")
	cacheBytes     = describe("userd_cache_size_bytes", "Size of what the entries hold.")
	cacheEvictions = describe("userd_cache_evictions_total", "Entries for which there was no room any more.")
	redisUp        = describe("userd_cache_redis_up", "1 while Redis is used.")
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
	to.flag(cacheTrusted, stats.Trusted)
	to.gauge(cacheEntries, float64(stats.Entries))
	to.gauge(cacheMax, float64(stats.MaxEntries))
	to.gauge(cacheBytes, float64(stats.Bytes))
	to.count(cacheEvictions, stats.Evictions)
	if m.redis {
		to.flag(redisUp, stats.RedisUp)
	}
}
