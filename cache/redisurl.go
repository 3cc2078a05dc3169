package cache

import (
	"errors"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// ErrRedisURL: Config.Redis is not a URL that names a Redis. Its text never holds
// a part of the URL, which may have a password.
var ErrRedisURL = errors.New("not a Redis URL: want redis:// or rediss://[user:password@]host[:port], ?addr=host:port for more nodes of a Cluster, ?master_set=name for Sentinels, or unix:///path")

// Limits of a connection to Redis. With rueidis's defaults a dead Redis blocks
// callers for seconds.
const (
	dialTimeout     = 250 * time.Millisecond
	writeTimeout    = 500 * time.Millisecond
	topologyRefresh = 5 * time.Second
	bufferSize      = 64 << 10
)

// redisOption returns how to connect, and the number of buckets to use there.
func redisOption(url string) (rueidis.ClientOption, int, error) {
	option, err := rueidis.ParseURL(url)
	if err != nil || len(option.InitAddress) == 0 || option.InitAddress[0] == "" {
		return rueidis.ClientOption{}, 0, ErrRedisURL
	}
	buckets := 1
	switch {
	case option.Sentinel.MasterSet != "":
	case len(option.InitAddress) > 1:
		buckets = clusterBuckets
	default:
		option.ForceSingleClient = true
	}
	// One connection to a node: with more, an invalidation can overtake, or be
	// overtaken by, an answer.
	option.PipelineMultiplex = -1
	option.ClientTrackingOptions = nil // OPTIN: BCAST would break the fence of apply.
	option.DisableCache, option.AlwaysRESP2 = false, false
	option.DisableRetry = true
	option.Dialer.Timeout, option.Dialer.KeepAlive = dialTimeout, dialTimeout
	option.ConnWriteTimeout = writeTimeout
	option.ReadBufferEachConn, option.WriteBufferEachConn = bufferSize, bufferSize
	option.Sentinel.Dialer, option.Sentinel.TLSConfig = option.Dialer, option.TLSConfig
	option.Sentinel.TopologyRefreshInterval = topologyRefresh
	option.ClusterOption.ShardsRefreshInterval = topologyRefresh
	option.ClusterOption.MaxMovedRedirections = 3
	return option, buckets, nil
}

// addresses names the nodes for a log.
func addresses(option rueidis.ClientOption) string {
	return strings.Join(option.InitAddress, ",")
}
