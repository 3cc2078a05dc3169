package cache

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/example/userd/store"
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
	var turned int64
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
		if now := c.clock(); now-turned >= int64(c.config.Staleness)*3/2 {
			turned = now
			c.floors.turn()
		}
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
	for {
		position, more, err := c.relay()
		c.relayed.Store(&err)
		switch {
		case err != nil || !c.backend.ready():
			if !c.pause(beatEvery, c.relayNow) {
				return
			}
		case more:
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

// relay moves each watermark by at most one batch. It returns a position behind
// which there may be changes to come, and whether there are more already. One that cannot be
// moved does not hinder the others.
func (c *Cache) relay() (position store.Cursor, more bool, err error) {
	if !c.backend.ready() {
		return "", false, nil
	}
	ctx, cancel := c.vital(sampleBudget)
	defer cancel()
	marks, err := c.backend.marks(ctx)
	if err != nil {
		return "", false, err
	}
	buckets := make(map[store.Cursor][]int)
	for bucket, mark := range marks {
		buckets[mark] = append(buckets[mark], bucket)
	}
	for mark, at := range buckets {
		if mark == "" {
			err = cmp.Or(err, c.beginAll(ctx, at))
			more = true
			continue
		}
		to, full, failed := c.advance(ctx, mark, at)
		position, more, err = to, more || full, cmp.Or(err, failed)
	}
	return position, more, err
}

// beginAll sets missing watermarks. No value is older than TTL, so what is there
// contains all that was committed before; the margin is for clocks.
func (c *Cache) beginAll(ctx context.Context, buckets []int) error {
	head, err := c.Store.Head(ctx)
	if err != nil {
		return blame(storeSilent, err)
	}
	old, err := c.replayFrom(ctx)
	if err != nil {
		return blame(storeSilent, err)
	}
	for _, bucket := range buckets {
		err = cmp.Or(err, c.backend.begin(ctx, bucket, head, old))
	}
	return err
}

func (c *Cache) replayFrom(ctx context.Context) (store.Cursor, error) {
	return c.Store.At(ctx, time.Now().Add(-c.config.TTL-replayMargin))
}

// advance takes the watermarks of some buckets from mark over the next batch.
func (c *Cache) advance(ctx context.Context, mark store.Cursor, buckets []int) (store.Cursor, bool, error) {
	changes, to, err := c.Store.Changes(ctx, mark, c.backend.batch())
	if errors.Is(err, store.ErrCursorExpired) || errors.Is(err, store.ErrInvalidCursor) {
		changes = nil
		to, err = c.replayFrom(ctx)
	}
	if err != nil {
		return mark, false, blame(storeSilent, err)
	}
	if to == mark {
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
	for _, m := range moves {
		err = cmp.Or(err, c.backend.relay(ctx, *m))
	}
	if n := len(changes); n > 0 && err == nil {
		c.counts.relayed.Add(int64(n))
		c.counts.relayLag.Store(int64(time.Since(changes[n-1].At)))
	}
	return to, len(changes) == c.backend.batch(), err
}
