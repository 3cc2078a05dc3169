package cache

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

// inFlight bounds the calls in rueidis, whose ring of 1,024 ignores contexts when
// it is full.
const inFlight = 512

// Three errors within a second end the use of Redis until a heartbeat comes back.
const (
	errorsBound  = 3
	errorsWindow = time.Second
)

// errAway is what calls return while Redis is not used.
var errAway = errors.New("redis is not used now")

// redis is the backend over Redis: one node, Sentinel or Cluster.
type redis struct {
	option  rueidis.ClientOption
	clock   func() int64
	samples *samples
	keys    keyspace
	entries int
	ttl     lifetimes
	dialer  *dialer
	tally   *tally

	onLost    func(error)  // Called when Redis is not used any more.
	onWarning func(*cause) // Called when it is used, but not as well as it could be.

	client atomic.Pointer[rueidis.Client]
	up     atomic.Bool
	views  [clusterBuckets]atomic.Pointer[view]
	calls  chan struct{}  // Holds one for each call in rueidis.
	wait   sync.WaitGroup // Of the calls.

	observe func(ctx context.Context, operation string) (context.Context, func(error))

	mu      sync.Mutex
	errors  [errorsBound]int64 // Times of the last errors.
	closed  bool
	tracked map[*connection]struct{} // Those that are open.
	evicted int64                    // By those that were.
}

func scriptHash(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func newRedis(url, incarnation string, clock func() int64, s *samples, entries int, ttl lifetimes) (*redis, error) {
	option, buckets, err := redisOption(url)
	if err != nil {
		return nil, err
	}
	r := &redis{
		clock: clock, samples: s, keys: newKeyspace(incarnation, buckets), entries: entries, ttl: ttl,
		tracked: make(map[*connection]struct{}),
		observe: func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, func(error) {} },
		tally:   &tally{}, calls: make(chan struct{}, inFlight), onLost: func(error) {}, onWarning: func(*cause) {},
	}
	r.dialer = dialing(&option)
	option.ClientName = "userd"
	option.OnInvalidations = func([]rueidis.RedisMessage) {} // Set, so that an idle connection is read.
	option.NewCacheStoreFn = func(rueidis.CacheStoreOption) rueidis.CacheStore {
		c := &connection{redis: r, slots: newSieve(entries), waiting: make(map[key]chan struct{})}
		c.since.Store(clock())
		r.track(c)
		return c
	}
	r.option = option
	return r, nil
}

func (r *redis) track(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tracked[c] = struct{}{}
}

func (r *redis) untrack(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, open := r.tracked[c]; open {
		delete(r.tracked, c)
		r.evicted += c.slots.stats().evictions
	}
}

func (r *redis) holds() sieveStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := sieveStats{evictions: r.evicted}
	for c := range r.tracked {
		one := c.slots.stats()
		all.entries += one.entries
		all.bytes += one.bytes
		all.evictions += one.evictions
	}
	return all
}

func (r *redis) ready() bool { return r.up.Load() }

func (r *redis) bucket(k key) int { return r.keys.bucket(k) }

func (r *redis) near(k key) (*held, int64) { return r.vouched(k, (*sieve).get) }

// vouched gets what the near cache holds of the key, and since when that is complete.
func (r *redis) vouched(k key, get func(*sieve, key) *held) (*held, int64) {
	v := r.views[r.keys.bucket(k)].Load()
	if v == nil || !r.up.Load() {
		return nil, 0
	}
	fresh := v.fresh.Load() // Before the slot, which may be newer but not older.
	return get(v.connection.slots, k), fresh
}

// heard takes a watermark that was read on a connection.
func (r *redis) heard(bucket int, c *connection, mark store.Cursor) {
	v := r.views[bucket].Load()
	if v == nil || v.connection != c {
		next := &view{connection: c, since: c.since.Load()}
		if v != nil { // What another node holds may be older than what was shown.
			next.since = r.clock()
		}
		v = next
	}
	v.fresh.Store(r.samples.contained(mark, v.since))
	r.views[bucket].Store(v)
	if c.closed.Load() { // Closed meanwhile: Close did not see this view.
		r.views[bucket].CompareAndSwap(v, nil)
	}
}

// lost ends the use of Redis.
func (r *redis) lost(why error) {
	if !r.up.CompareAndSwap(true, false) {
		return
	}
	for i := range r.views {
		if v := r.views[i].Swap(nil); v != nil {
			v.connection.distrust()
		}
	}
	r.onLost(why)
}

// failed takes an error of a call.
func (r *redis) failed(err error) {
	c := causeOf(err)
	r.tally.add(c)
	cluster := r.keys.buckets > 1 // There rueidis finds the right node.
	switch {
	case c.elsewhere && !cluster:
		r.lost(err)
		r.dialer.drop()
	case c.elsewhere && c != notCluster, c == scriptRuns, code(err) == "":
		r.count(err)
	case c.refusal:
		r.onWarning(c)
	}
}

// count ends the use of Redis where errors come together.
func (r *redis) count(err error) {
	now := r.clock()
	r.mu.Lock()
	oldest := r.errors[0]
	copy(r.errors[:], r.errors[1:])
	r.errors[errorsBound-1] = now
	r.mu.Unlock()
	if oldest != 0 && now-oldest <= int64(errorsWindow) {
		r.lost(err)
	}
}

// within is attempt, and takes the error.
func within[T any](ctx context.Context, r *redis, call func(rueidis.Client) (T, error)) (T, error) {
	value, err := attempt(ctx, r, call)
	if err != nil && !errors.Is(err, errAway) {
		r.failed(err)
	}
	return value, err
}

// attempt runs a call in rueidis and returns when it does or when the context
// ends: some of what rueidis does, like waiting for another's dial, knows no
// context.
func attempt[T any](ctx context.Context, r *redis, call func(rueidis.Client) (T, error)) (T, error) {
	var none T
	client := r.client.Load()
	if client == nil || !r.begins() {
		return none, errAway
	}
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		defer r.ends()
		value, err := guard.Call(func() (T, error) { return call(*client) })
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// begins reports whether there is room for one more call.
func (r *redis) begins() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	select {
	case r.calls <- struct{}{}:
		r.wait.Add(1)
		return true
	default:
		return false
	}
}

func (r *redis) ends() {
	<-r.calls
	r.wait.Done()
}

func (r *redis) read(ctx context.Context, keys []key) (_ []reading, err error) {
	ctx, end := r.observe(ctx, "read")
	defer func() { end(err) }()
	return within(ctx, r, func(client rueidis.Client) ([]reading, error) {
		return r.fetch(ctx, client, keys)
	})
}

// fetch reads slots through the tracked connection, which puts values into the
// near cache, and takes them from there: only then is it sure which connection
// they came on.
func (r *redis) fetch(ctx context.Context, client rueidis.Client, keys []key) ([]reading, error) {
	commands := make([]rueidis.CacheableTTL, len(keys))
	for i, k := range keys {
		commands[i] = rueidis.CT(client.B().Get().Key(r.keys.name(k)).Cache(), r.ttl.value)
	}
	out := make([]reading, len(keys))
	for i, answer := range client.DoMultiCache(ctx, commands...) {
		raw, err := answer.ToString()
		_, foreign := rueidis.IsRedisErr(err)
		switch {
		case rueidis.IsRedisNil(err):
			out[i].held = &held{}
		case foreign:
			out[i].held = &held{slot: slot{kind: corrupt}}
		case err != nil:
			return nil, err
		default:
			out[i] = r.attribute(keys[i], parseSlot(raw))
		}
	}
	return out, nil
}

// attribute finds a slot that was just read in the near cache that vouches for it.
func (r *redis) attribute(k key, s slot) reading {
	if s.kind != found && s.kind != tombstone {
		return reading{held: &held{slot: s}}
	}
	if h, fresh := r.vouched(k, (*sieve).peek); h != nil {
		return reading{h, fresh}
	}
	return reading{held: &held{slot: slot{kind: elsewhere, raw: s.raw}}}
}

func (r *redis) await(ctx context.Context, keys []key) (_ []reading, err error) {
	ctx, end := r.observe(ctx, "await")
	defer func() { end(err) }()
	return within(ctx, r, func(client rueidis.Client) ([]reading, error) {
		changed := make([]<-chan struct{}, len(keys))
		for i, k := range keys { // Before the slots are read, which may change at once.
			if v := r.views[r.keys.bucket(k)].Load(); v != nil {
				changed[i] = v.connection.watch(k)
			}
		}
		slots, err := r.fetch(ctx, client, keys)
		if err != nil {
			return nil, err
		}
		enough := time.NewTimer(busyWait)
		defer enough.Stop()
		waited := false
		for i, s := range slots {
			if s.kind != lease || changed[i] == nil {
				continue
			}
			select {
			case <-changed[i]:
				waited = true
			case <-enough.C:
				return slots, nil
			}
		}
		if !waited {
			return slots, nil
		}
		return r.fetch(ctx, client, keys)
	})
}

func (r *redis) acquire(ctx context.Context, claims []claim) ([]bool, error) {
	calls := make([]invocation, len(claims))
	for i, c := range claims {
		calls[i] = invocation{acquireScript, []string{r.keys.name(c.key)}, []string{
			newSlot(lease, 0, []byte(c.token)).raw, milliseconds(int64(r.ttl.lease)), c.raw, r.keys.mark(r.keys.bucket(c.key)),
		}}
	}
	won, err := r.invoke(ctx, "acquire", "", calls)
	granted := make([]bool, len(claims))
	for i := range won {
		granted[i] = won[i] == 1
	}
	return granted, err
}

func (r *redis) fill(ctx context.Context, fills []fill) (int, error) {
	calls := make([]invocation, len(fills))
	for i, f := range fills {
		calls[i] = invocation{fillScript, []string{r.keys.name(f.key)}, []string{
			newSlot(lease, 0, []byte(f.token)).raw, f.slot.raw, milliseconds(int64(r.ttl.of(f.slot.kind))),
		}}
	}
	won, err := r.invoke(ctx, "fill", "", calls)
	lost := 0
	for _, n := range won {
		lost += 1 - int(n)
	}
	return lost, err
}

func (r *redis) invoke(ctx context.Context, operation, fence string, calls []invocation) (_ []int64, err error) {
	ctx, end := r.observe(ctx, operation)
	defer func() { end(err) }()
	return within(ctx, r, func(client rueidis.Client) ([]int64, error) {
		return invoke(ctx, client, fence, calls...)
	})
}

func (r *redis) mayHold(key) bool { return true } // To ask costs as much as to apply.

func (r *redis) apply(ctx context.Context, changes []change) error {
	perBucket := make(map[int][]change)
	for _, c := range changes {
		bucket := r.keys.bucket(c.key)
		perBucket[bucket] = append(perBucket[bucket], c)
	}
	for bucket, changes := range perBucket {
		var calls []invocation
		for len(changes) > 0 {
			n := min(len(changes), scriptBatch)
			call := invocation{script: applyScript}
			r.add(&call, changes[:n])
			calls, changes = append(calls, call), changes[n:]
		}
		if _, err := r.invoke(ctx, "apply", r.keys.mark(bucket), calls); err != nil {
			return err
		}
	}
	return nil
}

// add puts changes behind the keys and arguments of a call.
func (r *redis) add(call *invocation, changes []change) {
	for _, c := range changes {
		version, life := fmt.Sprint(c.version), r.ttl.value
		if c.key.space != byID {
			version = ""
		}
		if c.raw != "" {
			life = r.ttl.of(c.raw[0])
		}
		call.keys = append(call.keys, r.keys.name(c.key))
		call.args = append(call.args, version, c.raw, milliseconds(int64(life)))
	}
}

func (r *redis) relay(ctx context.Context, m move) error {
	call := invocation{relayScript, []string{r.keys.mark(m.bucket)}, []string{string(m.from), string(m.to)}}
	r.add(&call, m.changes)
	return r.mark(ctx, "relay", call)
}

// mark changes a watermark, on which all depends: an error says why.
func (r *redis) mark(ctx context.Context, operation string, call invocation) (err error) {
	ctx, end := r.observe(ctx, operation)
	defer func() { end(err) }()
	_, err = within(ctx, r, func(client rueidis.Client) (struct{}, error) {
		_, err := invoke(ctx, client, "", call)
		return struct{}{}, r.diagnosed(ctx, client, err)
	})
	return err
}

func (r *redis) batch() int { return scriptBatch }

func (r *redis) begin(ctx context.Context, bucket int, head, old store.Cursor) error {
	call := invocation{beginScript, []string{r.keys.mark(bucket)}, []string{string(head), string(old)}}
	for i := range r.keys.buckets {
		call.args = append(call.args, r.keys.mark(i))
	}
	return r.mark(ctx, "begin", call)
}

func (r *redis) marks(ctx context.Context) (_ []store.Cursor, err error) {
	ctx, end := r.observe(ctx, "marks")
	defer func() { end(err) }()
	return within(ctx, r, func(client rueidis.Client) ([]store.Cursor, error) {
		commands := make(rueidis.Commands, r.keys.buckets)
		for i := range commands {
			commands[i] = client.B().Get().Key(r.keys.mark(i)).Build()
		}
		marks := make([]store.Cursor, len(commands))
		for i, answer := range client.DoMulti(ctx, commands...) {
			mark, err := answer.ToString()
			if err != nil && !rueidis.IsRedisNil(err) {
				return nil, err
			}
			marks[i] = store.Cursor(mark)
		}
		return marks, nil
	})
}

func (r *redis) fresh() int64 {
	if !r.up.Load() {
		return 0
	}
	oldest := int64(math.MaxInt64)
	for i := range r.keys.buckets {
		v := r.views[i].Load()
		if v == nil {
			return 0
		}
		oldest = min(oldest, v.fresh.Load())
	}
	return oldest
}

func (r *redis) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	if client := r.client.Load(); client != nil {
		(*client).Close()
	}
	r.wait.Wait()
}
