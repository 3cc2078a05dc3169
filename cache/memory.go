package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/example/userd/store"
)

// memory is the backend in this process: near cache and shared tier are one map.
type memory struct {
	clock   func() int64
	samples *samples
	slots   *sieve
	ttl     lifetimes
	freshAt atomic.Int64

	mu      sync.Mutex // Of what follows.
	mark    store.Cursor
	waiting map[key]chan struct{}
}

// lifetimes are how long slots live, from the time they are put.
type lifetimes struct {
	value, tombstone, lease time.Duration
}

func (l lifetimes) of(kind byte) time.Duration {
	switch kind {
	case tombstone:
		return l.tombstone
	case lease:
		return l.lease
	default:
		return l.value
	}
}

func newMemory(clock func() int64, s *samples, entries int, ttl lifetimes) *memory {
	return &memory{
		clock: clock, samples: s, slots: newSieve(entries), ttl: ttl,
		waiting: make(map[key]chan struct{}),
	}
}

func (m *memory) near(k key) (*held, int64) {
	fresh := m.freshAt.Load() // Before the slot, which may be newer but not older.
	h := m.slots.get(k)
	if h == nil || h.kind == lease {
		return nil, fresh
	}
	return h, fresh
}

func (m *memory) ready() bool { return true }

func (m *memory) bucket(key) int { return 0 }

func (m *memory) read(_ context.Context, keys []key) ([]reading, error) {
	out := make([]reading, len(keys))
	for i, k := range keys {
		fresh := m.freshAt.Load()
		out[i] = reading{m.live(m.slots.peek(k)), fresh}
	}
	return out, nil
}

// live returns h unless its time is over.
func (m *memory) live(h *held) *held {
	if h == nil || h.expires <= m.clock() {
		return &held{}
	}
	return h
}

func (m *memory) await(ctx context.Context, keys []key) ([]reading, error) {
	enough := time.NewTimer(busyWait)
	defer enough.Stop()
	for _, k := range keys {
		changed := m.watch(k)
		if m.live(m.slots.peek(k)).kind != lease {
			continue
		}
		select {
		case <-changed:
		case <-enough.C:
			return m.read(ctx, keys)
		}
	}
	return m.read(ctx, keys)
}

// watch returns a channel that is closed when k changes.
func (m *memory) watch(k key) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := m.waiting[k]
	if changed == nil {
		changed = make(chan struct{})
		m.waiting[k] = changed
	}
	return changed
}

// put changes a slot; change returns the slot to hold, or one of kind nothing.
// Same means that the slot stays as it is.
func (m *memory) put(k key, change func(slot) (next slot, same bool)) {
	var same bool
	m.slots.update(k, func(h *held) *held {
		var next slot
		if next, same = change(m.live(h).slot); same {
			return h
		}
		if next.kind == nothing {
			return nil
		}
		return &held{slot: next, expires: m.clock() + int64(m.ttl.of(next.kind))}
	})
	if same {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if changed := m.waiting[k]; changed != nil {
		close(changed)
		delete(m.waiting, k)
	}
}

func (m *memory) acquire(_ context.Context, claims []claim) ([]bool, error) {
	granted := make([]bool, len(claims))
	if m.watermark() == "" {
		return granted, nil
	}
	for i, c := range claims {
		m.put(c.key, func(s slot) (slot, bool) {
			granted[i] = s.kind == nothing || s.kind == corrupt || c.raw != "" && s.raw == c.raw
			return newSlot(lease, 0, []byte(c.token)), !granted[i]
		})
	}
	return granted, nil
}

func (m *memory) fill(_ context.Context, fills []fill) (int, error) {
	lost := 0
	for _, f := range fills {
		m.put(f.key, func(s slot) (slot, bool) {
			ours := s.kind == lease && string(s.payload()) == f.token
			if !ours {
				lost++
			}
			return f.slot, !ours
		})
	}
	return lost, nil
}

func (m *memory) mayHold(k key) bool { return m.slots.peek(k) != nil }

func (m *memory) apply(_ context.Context, changes []change) error {
	for _, c := range changes {
		if !m.mayHold(c.key) { // As for nearly all rows of an import.
			continue
		}
		m.put(c.key, func(s slot) (slot, bool) {
			if s.kind == nothing || !c.outdates(s) {
				return s, true
			}
			if s.kind == lease || c.raw == "" {
				return slot{}, false
			}
			return parseSlot(c.raw), false
		})
	}
	return nil
}

func (m *memory) watermark() store.Cursor {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mark
}

func (m *memory) marks(context.Context) ([]store.Cursor, error) {
	return []store.Cursor{m.watermark()}, nil
}

func (m *memory) begin(_ context.Context, _ int, head, _ store.Cursor) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mark == "" {
		m.mark = head
	}
	return nil
}

func (m *memory) relay(ctx context.Context, v move) error {
	_ = m.apply(ctx, v.changes)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mark == v.from {
		m.mark = v.to
	}
	return nil
}

func (m *memory) batch() int { return memoryBatch }

func (m *memory) beat(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.freshAt.Store(m.samples.contained(m.mark, 0))
	return nil
}

func (m *memory) fresh() int64 { return m.freshAt.Load() }

func (m *memory) holds() sieveStats { return m.slots.stats() }

func (m *memory) close() {}
