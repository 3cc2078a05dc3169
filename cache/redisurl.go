package cache

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// ErrRedisURL: Config.Redis is not a URL that names a Redis. Its text never holds
// a part of the URL, which may have a password.
var ErrRedisURL = errors.New("not a Redis URL: want redis:// or rediss://[user:password@]host[:port], ?addr=host:port for more nodes of a Cluster, ?master_set=name for Sentinels (with &sentinel_username= and &sentinel_password= where they ask for them), or unix:///path")

// Limits of a connection to Redis. With rueidis's defaults a dead Redis blocks
// callers for seconds.
const (
	dialTimeout     = 200 * time.Millisecond // Less than a heartbeat: what it says about a dial is known then.
	keepAlive       = 250 * time.Millisecond
	writeTimeout    = 500 * time.Millisecond
	topologyRefresh = 5 * time.Second
	bufferSize      = 64 << 10
)

// redisOption returns how to connect, and the number of buckets to use there.
func redisOption(address string) (rueidis.ClientOption, int, error) {
	option, err := rueidis.ParseURL(address)
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
	if buckets > 1 {
		// While a slot moves, what is read on its new node stands behind an ASKING, which
		// takes the place of the opting in: Redis would not tell of its changes.
		option.ClientTrackingOptions = []string{"OPTOUT"}
	}
	option.DisableCache, option.AlwaysRESP2 = false, false
	option.DisableRetry = true
	option.Dialer.Timeout, option.Dialer.KeepAlive = dialTimeout, keepAlive
	option.ConnWriteTimeout = writeTimeout
	option.ReadBufferEachConn, option.WriteBufferEachConn = bufferSize, bufferSize
	if option.TLSConfig != nil {
		option.TLSConfig.ServerName = "" // Each node has the name by which it is dialled.
	}
	option.Sentinel.Dialer, option.Sentinel.TLSConfig = option.Dialer, option.TLSConfig
	option.Sentinel.Username, option.Sentinel.Password = sentinelUser(address)
	option.Sentinel.TopologyRefreshInterval = topologyRefresh
	option.ClusterOption.ShardsRefreshInterval = topologyRefresh
	option.ClusterOption.MaxMovedRedirections = 3
	return option, buckets, nil
}

// sentinelUser returns the user and password that Sentinels ask for, which are not
// those of the nodes that they watch; "" without.
func sentinelUser(address string) (user, password string) {
	parsed, err := url.Parse(address)
	if err != nil {
		return "", ""
	}
	query := parsed.Query()
	return query.Get("sentinel_username"), query.Get("sentinel_password")
}

// addresses names the nodes for a log.
func addresses(option rueidis.ClientOption) string {
	return strings.Join(option.InitAddress, ",")
}
