package status

import (
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/example/userd/gen/userd/admin/v1"
)

// Names of metrics, and of a label, that are read more than once.
const (
	callDuration   = "rpc_server_call_duration_seconds"
	streamDuration = "rpc_server_stream_duration_seconds"
	responseCode   = "rpc_response_status_code"
	activeCalls    = "rpc_server_active_calls"
	cacheTrusted   = "userd_cache_trusted"
	redisUp        = "userd_cache_redis_up"
	poolMax        = "userd_store_pool_connections_max"
)

// span is the time between two looks.
type span struct {
	before  metrics
	now     metrics
	seconds float64  // 0 where there is nothing before.
	failed  []string // The codes with which calls have ended that did not end well, in order.
}

// rate is how much counters have grown, a second.
func (s span) rate(name string, labels ...label) float64 {
	if s.seconds == 0 {
		return 0
	}
	return (s.now.sum(name, labels...) - s.before.sum(name, labels...)) / s.seconds
}

// latency is that of the unary calls since, or nil where there were none.
func (s span) latency(labels ...label) *adminv1.Latency {
	if s.seconds == 0 {
		return nil
	}
	calls := s.now.histogram(callDuration, labels...).since(s.before.histogram(callDuration, labels...))
	if calls.total() == 0 {
		return nil
	}
	return &adminv1.Latency{P50: durationpb.New(calls.quantile(0.5)), P99: durationpb.New(calls.quantile(0.99))}
}

// response is what there is to tell. before is nil for the first message.
func (s *Service) response(before, now *look) *adminv1.WatchStatusResponse {
	t := span{now: now.metrics, failed: now.failed()}
	response := &adminv1.WatchStatusResponse{At: timestamppb.New(now.at), StartedAt: timestamppb.New(s.started)}
	if before != nil {
		since := now.at.Sub(before.at)
		t.before, t.seconds = before.metrics, since.Seconds()
		response.Since = durationpb.New(since)
	}
	for _, version := range now.values("userd_build_info", "version") {
		response.Version = version
	}
	response.Rpcs = t.rpcs()
	response.Errors = t.errors()
	response.Unary = t.latency()
	response.Cache = t.cache()
	response.Pools = now.pools()
	response.Connections = now.connections()
	response.Process = t.process()
	return response
}

// ended is how many calls have ended, a second.
func (s span) ended(labels ...label) float64 {
	return s.rate(callDuration, labels...) + s.rate(streamDuration, labels...)
}

// rpcs are those that have something to tell.
func (s span) rpcs() (rpcs []*adminv1.RpcStatus) {
	for _, name := range s.now.values(activeCalls, "rpc_method") {
		method := label{"rpc_method", name}
		rpc := &adminv1.RpcStatus{
			Name:           name,
			CallsPerSecond: s.ended(method),
			Active:         s.now.count(activeCalls, method),
			Latency:        s.latency(method),
		}
		if rpc.GetCallsPerSecond() == 0 && rpc.GetActive() == 0 {
			continue
		}
		for _, failed := range s.errors(method) {
			rpc.ErrorsPerSecond += failed.GetErrorsPerSecond()
		}
		rpcs = append(rpcs, rpc)
	}
	return rpcs
}

// errors are how calls have ended that did not end well.
func (s span) errors(labels ...label) (errors []*adminv1.ErrorStatus) {
	for _, code := range s.failed {
		if rate := s.ended(append(labels, label{responseCode, code})...); rate > 0 {
			errors = append(errors, &adminv1.ErrorStatus{Code: code, ErrorsPerSecond: rate})
		}
	}
	return errors
}

// failed are the codes with which calls have ended that did not end well, in order.
func (m metrics) failed() []string {
	codes := slices.Concat(m.values(callDuration, responseCode), m.values(streamDuration, responseCode))
	slices.Sort(codes)
	return slices.DeleteFunc(slices.Compact(codes), func(code string) bool { return code == "OK" })
}

// cache is that of reads, or nil where there is none.
func (s span) cache() *adminv1.CacheStatus {
	if !s.now.has(cacheTrusted) {
		return nil
	}
	cache := &adminv1.CacheStatus{
		NearHitsPerSecond:  s.rate("userd_cache_hits_total", label{"tier", "near"}),
		RedisHitsPerSecond: s.rate("userd_cache_hits_total", label{"tier", "redis"}),
		MissesPerSecond:    s.rate("userd_cache_misses_total"),
		Trusted:            s.now.sum(cacheTrusted) > 0,
		RelayLag:           durationpb.New(seconds(s.now.sum("userd_cache_relay_lag_seconds"))),
		Entries:            s.now.count("userd_cache_entries"),
	}
	if cache.Trusted {
		cache.Staleness = durationpb.New(seconds(s.now.sum("userd_cache_staleness_seconds")))
	}
	if s.now.has(redisUp) {
		up := s.now.sum(redisUp) > 0
		cache.RedisUp = &up
	}
	return cache
}

// pools are the connections to the database.
func (m metrics) pools() (pools []*adminv1.PoolStatus) {
	for _, name := range m.values(poolMax, "pool") {
		pool := label{"pool", name}
		pools = append(pools, &adminv1.PoolStatus{
			Name:    name,
			InUse:   m.count("userd_store_pool_connections", pool, label{"state", "in_use"}),
			Idle:    m.count("userd_store_pool_connections", pool, label{"state", "idle"}),
			Max:     m.count(poolMax, pool),
			Waiting: m.count("userd_store_pool_waiting", pool),
		})
	}
	return pools
}

// connections are those of callers, and what they have open.
func (m metrics) connections() *adminv1.ConnectionStatus {
	status := &adminv1.ConnectionStatus{
		Open:               m.count("userd_connections"),
		WatchersFollowing:  m.count("userd_watchers", label{"state", "following"}),
		WatchersCatchingUp: m.count("userd_watchers", label{"state", "catching_up"}),
	}
	for _, method := range m.values(streamDuration, "rpc_method") {
		status.Streams += m.count(activeCalls, label{"rpc_method", method})
	}
	return status
}

func (s span) process() *adminv1.ProcessStatus {
	return &adminv1.ProcessStatus{
		ResidentBytes: s.now.count("process_resident_memory_bytes"),
		HeapBytes:     s.now.count("go_memstats_heap_alloc_bytes"),
		CpusBusy:      s.rate("process_cpu_seconds_total"),
		Goroutines:    s.now.count("go_goroutines"),
	}
}
