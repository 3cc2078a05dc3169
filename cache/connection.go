package cache

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/example/userd/store"
)

// connection is the near cache of one tracked connection to Redis, as rueidis's
// CacheStore. rueidis calls Update, Delete and Close from the goroutine that reads
// the connection, so that this sees answers and invalidations in the order in
// which Redis sent them. Nobody else puts anything in: a caller that did could put
// an old value behind its invalidation.
type connection struct {
	redis  *redis
	slots  *sieve
	since  atomic.Int64 // Samples taken before do not count.
	closed atomic.Bool

	mu      sync.Mutex
	waiting map[key]chan struct{}
}

var _ rueidis.CacheStore = (*connection)(nil)

// view is what vouches for a bucket: the connection on which its watermark was
// heard last, and since when the data there are complete.
type view struct {
	connection *connection
	since      int64
	fresh      atomic.Int64
}

// Flight always asks Redis: hits are answered by redis.near, before rueidis.
func (c *connection) Flight(string, string, time.Duration, time.Time) (rueidis.RedisMessage, rueidis.CacheEntry) {
	return rueidis.RedisMessage{}, nil
}

// Update takes what Redis answered: a watermark, or a slot.
func (c *connection) Update(name, _ string, message rueidis.RedisMessage) int64 {
	expires := message.CachePXAT()
	if bucket, ok := c.redis.keys.markBucket(name); ok {
		mark, _ := message.ToString()
		c.redis.heard(bucket, c, store.Cursor(mark))
		return expires
	}
	k, ok := c.redis.keys.parse(name)
	raw, err := message.ToString()
	if !ok || err != nil || c.closed.Load() {
		return expires
	}
	s := parseSlot(raw)
	if s.kind != found && s.kind != tombstone {
		return expires
	}
	life := min(c.redis.ttl.value, time.Until(time.UnixMilli(expires)))
	h := &held{slot: s, expires: c.redis.clock() + int64(life)}
	c.slots.update(k, func(*held) *held { return h })
	return expires
}

// Cancel has nothing to do: Flight keeps no promises.
func (c *connection) Cancel(string, string, error) {}

// Delete takes an invalidation; nil is a flush, after which nothing that was said
// before counts.
func (c *connection) Delete(names []rueidis.RedisMessage) {
	if names == nil {
		c.distrust()
		return
	}
	for _, message := range names {
		name, _ := message.ToString()
		if k, ok := c.redis.keys.parse(name); ok {
			c.slots.update(k, func(*held) *held { return nil })
			c.wake(k)
		}
	}
}

// Close takes the end of the connection.
func (c *connection) Close(error) {
	c.closed.Store(true)
	used := c.distrust()
	c.redis.untrack(c)
	c.mu.Lock()
	for _, changed := range c.waiting {
		close(changed)
	}
	c.waiting = nil
	c.mu.Unlock()
	if used {
		c.redis.lost(lostLink)
	}
}

// distrust forgets everything, and reports whether anything was trusted.
func (c *connection) distrust() (used bool) {
	c.since.Store(c.redis.clock())
	for i := range c.redis.views {
		if v := c.redis.views[i].Load(); v != nil && v.connection == c {
			c.redis.views[i].CompareAndSwap(v, nil)
			used = true
		}
	}
	c.slots.clear()
	return used
}

// watch returns a channel that is closed when k changes.
func (c *connection) watch(k key) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := c.waiting[k]
	if changed == nil {
		changed = make(chan struct{})
		if c.waiting == nil { // Closed.
			close(changed)
			return changed
		}
		c.waiting[k] = changed
	}
	return changed
}

func (c *connection) wake(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changed := c.waiting[k]; changed != nil {
		close(changed)
		delete(c.waiting, k)
	}
}
