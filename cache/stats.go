package cache

import (
	"sync/atomic"
	"time"
)

// counts are what Stats is made of.
type counts struct {
	near, shared, misses, store                         atomic.Int64
	leasesLost, appliesLost, corrupt, relayed, relayLag atomic.Int64
}

// Stats is what a cache has done since it was made, and how it is now.
type Stats struct {
	NearHits    int64 // Users that came from this process.
	SharedHits  int64 // Users that came from Redis.
	Misses      int64 // Users that were in neither, or not to be trusted there.
	StoreReads  int64 // Users read from the store, for whatever reason.
	LeasesLost  int64 // Fills that came too late.
	AppliesLost int64 // Writes that the cache did not learn of at once.
	Corrupt     int64 // Values that were damaged or foreign, and replaced.
	Relayed     int64 // Changes read from the change log.

	// Errors counts what went wrong with Redis, by its cause: "timeout",
	// "wrong_password", "demoted" and so on. All causes are there from the start; nil
	// without Redis.
	Errors map[string]int64

	Entries    int   // Slots that this process holds.
	MaxEntries int   // And at most.
	Bytes      int   // In those, without what the map itself takes.
	Evictions  int64 // Slots for which there was no room.
	RedisUp    bool  // Whether Redis is used; false where there is none.

	RelayLag  time.Duration // Between the last change relayed and its relay.
	Trusted   bool          // Whether reads may come from the cache.
	Staleness time.Duration // How old cached reads can be now; 0 where not trusted.
}

// Stats returns the counts at this moment.
func (c *Cache) Stats() Stats {
	n := &c.counts
	s := Stats{
		NearHits: n.near.Load(), SharedHits: n.shared.Load(), Misses: n.misses.Load(), StoreReads: n.store.Load(),
		LeasesLost: n.leasesLost.Load(), AppliesLost: n.appliesLost.Load(),
		Corrupt: n.corrupt.Load(), Relayed: n.relayed.Load(), RelayLag: time.Duration(n.relayLag.Load()),
		MaxEntries: c.config.MaxEntries,
		RedisUp:    c.config.Redis != "" && c.backend.ready(),
	}
	if c.config.Redis != "" {
		s.Errors = c.errors.all()
	}
	holds := c.backend.holds()
	s.Entries, s.Bytes, s.Evictions = holds.entries, holds.bytes, holds.evictions
	if fresh := c.trustedNow(); fresh != 0 {
		s.Trusted, s.Staleness = true, time.Duration(c.clock()-fresh)
	}
	return s
}
