package cache

import (
	"cmp"
	"context"

	"github.com/example/userd/store"
)

// The backends below leave out a part of the protocol, each over a backend that has
// it: what checks the protocol must notice.

// openWeak is New of a cache over a backend that another one wraps.
func openWeak(s store.Store, config Config, weaken func(*Cache) backend) (*Cache, error) {
	c, err := build(s, config)
	if err != nil {
		return nil, err
	}
	c.backend = weaken(c)
	c.run()
	return c, nil
}

// anyLease fills every slot, whoever has its lease.
type anyLease struct{ *redis }

var fillAnyScript = newScript(`return redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) and 1`)

func (b anyLease) fill(ctx context.Context, fills []fill) (int, error) {
	calls := make([]invocation, len(fills))
	for i, f := range fills {
		calls[i] = invocation{fillAnyScript, []string{b.keys.name(f.key)}, []string{"", f.slot.raw, milliseconds(int64(b.ttl.of(f.slot.kind)))}}
	}
	_, err := b.invoke(ctx, "fill", "", calls)
	return 0, err
}

// floorless forgets the floor of a key before anybody compares with it.
type floorless struct {
	backend
	floors *floors
}

func (b floorless) near(k key) (*held, int64) {
	h, fresh := b.backend.near(k)
	b.floors.forget(k)
	return h, fresh
}

func (f *floors) forget(k key) {
	hash, s := f.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, hash)
	delete(s.last, hash)
	delete(s.nowOwned, hash)
	delete(s.lastOwned, hash)
}

// trusting believes for as long as it is connected that all it holds is fresh.
type trusting struct {
	backend
	clock func() int64
}

func (b trusting) near(k key) (*held, int64) {
	h, _ := b.backend.near(k)
	return h, b.fresh()
}

func (b trusting) read(ctx context.Context, keys []key) ([]reading, error) {
	return b.believed(b.backend.read(ctx, keys))
}

func (b trusting) await(ctx context.Context, keys []key) ([]reading, error) {
	return b.believed(b.backend.await(ctx, keys))
}

func (b trusting) believed(slots []reading, err error) ([]reading, error) {
	for i := range slots {
		slots[i].fresh = b.fresh()
	}
	return slots, err
}

func (b trusting) fresh() int64 {
	if !b.ready() {
		return 0
	}
	return b.clock()
}

// relayless is trusting, and has watermarks that never move.
type relayless struct{ trusting }

func (b relayless) beat(ctx context.Context) error {
	if err := b.trusting.beat(ctx); err != nil {
		return err
	}
	marks, err := b.trusting.marks(ctx)
	for bucket, mark := range marks {
		if mark == "" {
			err = cmp.Or(err, b.begin(ctx, bucket, unmoved, unmoved))
		}
	}
	return err
}

func (b relayless) marks(context.Context) ([]store.Cursor, error) { return nil, errAway }

// unmoved is the watermark of what is not relayed.
const unmoved store.Cursor = "5"

// dying is told of each commit before it is applied.
type dying struct {
	backend
	committed func([]change)
}

func (b dying) apply(ctx context.Context, changes []change) error {
	b.committed(changes)
	return b.backend.apply(ctx, changes)
}
