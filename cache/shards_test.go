package cache

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/store"
)

// shards is a backend of two buckets, of which one holds nothing but a watermark that can be
// stuck.
type shards struct {
	backend // Of the other one.
	mark    atomic.Pointer[store.Cursor]
	stuck   atomic.Pointer[func(context.Context) error]
}

func (b *shards) bucket(key) int { return 1 }

func (b *shards) batch() int { return 10 }

func (b *shards) marks(ctx context.Context) ([]store.Cursor, error) {
	marks, err := b.backend.marks(ctx)
	return append([]store.Cursor{*b.mark.Load()}, marks...), err
}

func (b *shards) begin(ctx context.Context, bucket int, head, old store.Cursor) error {
	if bucket == 1 {
		return b.backend.begin(ctx, 0, head, old)
	}
	b.mark.Store(&head)
	return nil
}

func (b *shards) relay(ctx context.Context, m move) error {
	if m.bucket == 1 {
		return b.backend.relay(ctx, m)
	}
	if stuck := b.stuck.Load(); stuck != nil {
		return (*stuck)(ctx)
	}
	b.mark.Store(&m.to)
	return nil
}

// covers returns whether a bucket has all changes.
func (b *shards) covers(t *testing.T, s store.Store, bucket int) bool {
	t.Helper()
	marks, err := b.marks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Covers(marks[bucket], head)
}

// A bucket that is stuck does not hold up the others, and catches up when it is free.
func TestBucketThatIsStuck(t *testing.T) {
	t.Parallel()
	for name, stuck := range map[string]func(context.Context) error{
		"refused": func(context.Context) error { return errors.New("TRYAGAIN") },
		"silent": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, s := &bundle{store: newFakeStore()}, new(shards)
				s.mark.Store(new(store.Cursor))
				b.lines = make(lines, 1000)
				c, err := openWeak(b.store, Config{Logger: slog.New(b.lines)}, func(c *Cache) backend {
					s.backend = c.backend
					return s
				})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				b.lines.await(t, "cache is trusted")
				s.stuck.Store(&stuck)
				for range 1000 { // A hundred batches.
					b.user(t)
				}
				const soon = 500 * time.Millisecond
				time.Sleep(soon)
				if !s.covers(t, c, 1) {
					t.Errorf("%v after the changes the other bucket lacks some", soon)
				}
				if err := c.relayed.Load(); *err == nil {
					t.Error("the cause is not known")
				}
				s.stuck.Store(nil)
				time.Sleep(soon)
				if !s.covers(t, c, 0) || !s.covers(t, c, 1) {
					t.Errorf("%v after it is free a bucket lacks some of the changes", soon)
				}
				if err := c.relayed.Load(); *err != nil {
					t.Errorf("then the cause is %v", *err)
				}
			})
		})
	}
}
