package cache

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/store"
)

// distant is a backend that is far away: whatever is asked of it takes some time, if the caller
// has as much. Nothing of it is near.
type distant struct {
	backend
	latency atomic.Int64
}

// openDistant returns a trusted cache whose backend can be far away.
func (b *bundle) openDistant(t *testing.T) (*Cache, *distant) {
	t.Helper()
	b.lines = make(lines, 1000)
	far := new(distant)
	c, err := openWeak(b.store, Config{Logger: slog.New(b.lines)}, func(c *Cache) backend {
		far.backend = c.backend
		return far
	})
	if err != nil {
		t.Fatal(err)
	}
	b.lines.await(t, "cache is trusted")
	return c, far
}

// pass returns when some time has passed, or the context ends.
func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *distant) travel(ctx context.Context) error {
	return pass(ctx, time.Duration(b.latency.Load()))
}

func (b *distant) near(k key) (*held, int64) {
	_, fresh := b.backend.near(k)
	return nil, fresh
}

func (b *distant) read(ctx context.Context, keys []key) ([]reading, error) {
	if err := b.travel(ctx); err != nil {
		return nil, err
	}
	return b.backend.read(ctx, keys)
}

func (b *distant) await(ctx context.Context, keys []key) ([]reading, error) {
	if err := b.travel(ctx); err != nil {
		return nil, err
	}
	if err := pass(ctx, busyWait); err != nil {
		return nil, err
	}
	return b.read(ctx, keys)
}

func (b *distant) acquire(ctx context.Context, claims []claim) ([]bool, error) {
	if err := b.travel(ctx); err != nil {
		return nil, err
	}
	return b.backend.acquire(ctx, claims)
}

// No lookup waits for more than 300 ms for Redis, however far away that is.
func TestLookupByNameOverFarRedis(t *testing.T) {
	t.Parallel()
	const most = 300 * time.Millisecond
	for _, latency := range []time.Duration{10 * time.Millisecond, 45 * time.Millisecond, 90 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := &bundle{store: newFakeStore()}
			c, far := b.openDistant(t)
			defer c.Close()
			before, now, name := b.user(t), b.user(t), emailKey("red@example.com")
			if _, err := b.store.Update(t.Context(), store.Update{ID: now.ID, Email: new("red@example.com")}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // It is relayed.
			// The cache has the user who had the name before, and another server reads that one.
			const token = "0123456789abcdef"
			acquire(t, far.backend, name, token)
			if _, err := far.fill(t.Context(), []fill{{name, token, newSlot(found, 1, []byte(before.ID))}}); err != nil {
				t.Fatal(err)
			}
			acquire(t, far.backend, userKey(before.ID), token)
			far.latency.Store(int64(latency))
			began := time.Now()
			u, err := c.GetByEmail(t.Context(), "red@example.com")
			if err != nil || u.ID != now.ID {
				t.Errorf("found is %q, error %v, want %q", u.ID, err, now.ID)
			}
			if took := time.Since(began); took > most {
				t.Errorf("Redis is %v away: the lookup waited for %v, want %v at most", latency, took, most)
			}
		})
	}
}

// A lookup by a name of which nothing is cached asks Redis what it has, and for the lease.
func TestLookupByNameTakesTwoRoundTrips(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{store: newFakeStore()}
		c, far := b.openDistant(t)
		defer c.Close()
		u := b.user(t)
		far.latency.Store(int64(time.Millisecond))
		began := time.Now()
		if found, err := c.GetByEmail(t.Context(), u.Email); err != nil || found.ID != u.ID {
			t.Errorf("found is %q, error %v, want %q", found.ID, err, u.ID)
		}
		if trips := time.Since(began) / time.Millisecond; trips != 2 {
			t.Errorf("it waited for %d round trips, want 2", trips)
		}
	})
}
