package cache

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

// The rhythm of trust.
const (
	beatEvery    = 200 * time.Millisecond
	regainEvery  = 20 * time.Millisecond
	beatBudget   = 250 * time.Millisecond
	probeFirst   = 250 * time.Millisecond
	probeLast    = 2 * time.Second
	sampleBudget = time.Second
	relayRest    = 5 * time.Millisecond // Between two moves, so that changes come together.
)

// signal makes the receiver of c go on, now or when it is there.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause returns after d, early at a signal; false when the cache closes.
func (c *Cache) pause(d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-early:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// sampleLoop asks the store again and again where its change log ends.
func (c *Cache) sampleLoop() {
	for {
		c.sample()
		if !c.pause(beatEvery, nil) {
			return
		}
	}
}

// vital is the context of a call on which trust depends, so that it never waits in the
// store behind those of readers.
func (c *Cache) vital(budget time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(store.Vital(c.ctx), budget)
}

func (c *Cache) sample() {
	ctx, cancel := c.vital(sampleBudget)
	defer cancel()
	at := c.clock()
	if head, err := c.Store.Head(ctx); err == nil {
		c.samples.add(at, head)
	}
}

// pulseLoop hears the heartbeat of the backend, or looks for it while it is away,
// and lets floors go.
func (c *Cache) pulseLoop() {
	probe := probeFirst
	for {
		wait := beatEvery
		if err := c.beat(); err != nil {
			wait, probe = probe, min(2*probe, probeLast)
			c.note(err)
		} else {
			probe = probeFirst
			if c.trustedNow() == 0 {
				c.regain()
				wait = regainEvery
			}
			c.note(nil)
		}
		c.floors.age(c.clock, c.backend.fresh(), int64(c.config.Staleness)*3/2)
		if !c.pause(wait, c.beatNow) {
			return
		}
	}
}

// regain hurries to trust a backend that answers: with a sample that is newer than
// its return, and the relay up to there.
func (c *Cache) regain() {
	if c.clock()-c.samples.newest().at > int64(beatEvery)/2 {
		c.sample()
	}
	signal(c.relayNow)
	_ = c.beat()
}

func (c *Cache) beat() error {
	ctx, cancel := context.WithTimeout(c.ctx, beatBudget)
	defer cancel()
	return c.backend.beat(ctx)
}

// lost is called by the backend when it is not used any more.
func (c *Cache) lost(why error) {
	c.turn(bypassed, why)
	signal(c.beatNow)
}

// trustedNow returns since when the data of all buckets are complete, 0 where they
// are not trusted.
func (c *Cache) trustedNow() int64 {
	fresh := c.backend.fresh()
	if fresh == 0 || c.clock()-fresh > int64(c.config.Staleness) {
		return 0
	}
	return fresh
}

// note tells in which state the last heartbeat left the cache.
func (c *Cache) note(err error) {
	switch {
	case c.trustedNow() != 0:
		c.turn(trusted, nil)
	case err != nil:
		c.turn(bypassed, err)
	default:
		c.turn(distrusted, c.whyBehind())
	}
}

// whyBehind is why a backend that answers is not trusted.
func (c *Cache) whyBehind() error {
	if err := c.relayed.Load(); err != nil && *err != nil {
		return *err
	}
	if c.clock()-c.samples.newest().at > int64(c.config.Staleness) {
		return storeSilent
	}
	return behind
}

// relayLoop pays what writers owe: it takes the watermark over the change log.
// Every server does; the compare in the script picks one.
func (c *Cache) relayLoop() {
	stuck := make(obstacles)
	for {
		position, more, err := c.relay(stuck)
		err = cmp.Or(err, stuck.err())
		c.relayed.Store(&err)
		switch {
		case more:
		case position == "":
			if !c.pause(beatEvery, c.relayNow) {
				return
			}
		default:
			ctx, cancel := c.vital(beatEvery)
			_ = c.Store.Wait(ctx, position)
			cancel()
			if !c.pause(relayRest, nil) {
				return
			}
		}
		if c.ctx.Err() != nil {
			return
		}
	}
}

// obstacles are the buckets whose watermarks could not be moved last.
type obstacles map[int]obstacle

type obstacle struct {
	err   error
	again int64 // When it is tried again, where there are other buckets to move.
}

// met takes how it went with a bucket at a time.
func (o obstacles) met(bucket int, err error, now int64) {
	if err == nil {
		delete(o, bucket)
		return
	}
	o[bucket] = obstacle{err, now + int64(beatEvery)}
}

// err is why one of them cannot be moved, nil where there is none.
func (o obstacles) err() error {
	for _, obstacle := range o {
		return obstacle.err
	}
	return nil
}

// relay moves each watermark by at most one batch. It returns a position behind
// which there may be changes to come, "" where no watermark could be moved, and whether there are
// more already. A bucket that cannot be moved is left alone for a while, and does not hold up the
// others.
func (c *Cache) relay(stuck obstacles) (position store.Cursor, more bool, err error) {
	if !c.backend.ready() {
		clear(stuck)
		return "", false, nil
	}
	ctx, cancel := c.vital(sampleBudget)
	defer cancel()
	marks, err := c.backend.marks(ctx)
	if err != nil {
		return "", false, err
	}
	now := c.clock()
	buckets := make(map[store.Cursor][]int)
	for bucket, mark := range marks {
		if len(stuck) == len(marks) || now >= stuck[bucket].again {
			buckets[mark] = append(buckets[mark], bucket)
		}
	}
	for mark, at := range buckets {
		if mark == "" {
			begun, failed := c.beginAll(ctx, at, stuck)
			more, err = more || begun, cmp.Or(err, failed)
			continue
		}
		to, full, failed := c.advance(ctx, mark, at, stuck)
		more, err = more || full, cmp.Or(err, failed)
		if to != "" && (position == "" || c.Covers(position, to)) {
			position = to
		}
	}
	return position, more, err
}

// beginAll sets missing watermarks. No value is older than TTL, so what is there
// contains all that was committed before; the margin is for clocks. It returns whether there
// is one more now.
func (c *Cache) beginAll(ctx context.Context, buckets []int, stuck obstacles) (begun bool, err error) {
	head, err := c.Store.Head(ctx)
	if err != nil {
		return false, blame(storeSilent, err)
	}
	old, err := c.replayFrom(ctx)
	if err != nil {
		return false, blame(storeSilent, err)
	}
	for _, bucket := range buckets {
		err := c.backend.begin(ctx, bucket, head, old)
		stuck.met(bucket, err, c.clock())
		begun = begun || err == nil
	}
	return begun, nil
}

func (c *Cache) replayFrom(ctx context.Context) (store.Cursor, error) {
	return c.Store.At(ctx, time.Now().Add(-c.config.TTL-replayMargin))
}

// advance takes the watermarks of some buckets from mark over the next batch. It returns where
// they are then, "" where none could be moved, and whether there are more changes.
func (c *Cache) advance(ctx context.Context, mark store.Cursor, buckets []int, stuck obstacles) (store.Cursor, bool, error) {
	changes, to, err := c.Store.Changes(ctx, mark, c.backend.batch())
	if errors.Is(err, store.ErrCursorExpired) || errors.Is(err, store.ErrInvalidCursor) {
		changes = nil
		to, err = c.replayFrom(ctx)
	}
	if err != nil {
		return "", false, blame(storeSilent, err)
	}
	if to == mark {
		for _, bucket := range buckets {
			stuck.met(bucket, nil, 0)
		}
		return mark, false, nil
	}
	moves := make(map[int]*move, len(buckets))
	for _, bucket := range buckets {
		moves[bucket] = &move{bucket: bucket, from: mark, to: to}
	}
	for _, row := range changes {
		change := changeOf(row)
		if m := moves[c.backend.bucket(change.key)]; m != nil {
			m.changes = append(m.changes, change)
		}
	}
	if !c.moveAll(ctx, moves, stuck) {
		return "", false, nil
	}
	if n := len(changes); n > 0 {
		c.counts.relayLag.Store(max(0, int64(time.Since(changes[n-1].At)))) // Whose clock may be ahead.
		c.counts.relayed.Add(int64(n))
	}
	return to, len(changes) == c.backend.batch(), nil
}

// moveAll moves watermarks, all at once, so that none waits for another. It reports whether any
// could be moved.
func (c *Cache) moveAll(ctx context.Context, moves map[int]*move, stuck obstacles) (moved bool) {
	ctx, cancel := context.WithTimeout(ctx, beatBudget)
	defer cancel()
	var mu sync.Mutex
	var calls sync.WaitGroup
	for bucket, m := range moves {
		calls.Go(func() {
			_, err := guard.Call(func() (struct{}, error) { return struct{}{}, c.backend.relay(ctx, *m) })
			mu.Lock()
			defer mu.Unlock()
			stuck.met(bucket, err, c.clock())
			moved = moved || err == nil
		})
	}
	calls.Wait()
	return moved
}
