package cache

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/store"
)

// onBoth runs a test on the bare backends, which start out with a watermark.
func onBoth(t *testing.T, f func(*testing.T, backend)) {
	t.Helper()
	onBackends(t, func(t *testing.T, b *bundle) {
		f(t, b.bare(t))
	})
}

// bare returns a backend that answers, with which no relay meddles. However busy the machine is,
// leases last for as long as a test.
func (b *bundle) bare(t testing.TB) (bare backend) {
	t.Helper()
	b.lines = make(lines, 1000)
	c, err := openWeak(b.store, Config{Redis: b.url, Logger: slog.New(b.lines)}, func(c *Cache) backend {
		switch own := c.backend.(type) {
		case *memory:
			own.ttl.lease = time.Hour
		case *redis:
			own.ttl.lease = time.Hour
		}
		bare = c.backend
		return relayless{trusting{bare, c.clock}}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	b.lines.await(t, "cache is trusted")
	return bare
}

// holds ends the test unless the slot is of this kind and version.
func holds(t testing.TB, b backend, k key, kind byte, version int64) slot {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		slots, err := b.read(t.Context(), []key{k})
		if err != nil {
			t.Fatal(err)
		}
		s := slots[0].slot
		if s.kind == elsewhere {
			s = parseSlot(s.raw)
		}
		if s.kind == kind && s.version == version {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("holds %q at version %d, want %q at %d", s.kind, s.version, kind, version)
		}
	}
}

func acquire(t testing.TB, b backend, k key, token string) bool {
	t.Helper()
	granted, err := b.acquire(t.Context(), []claim{{key: k, token: token}})
	if err != nil {
		t.Fatal(err)
	}
	return granted[0]
}

func fillAs(t testing.TB, b backend, k key, token string, version int64) bool {
	t.Helper()
	lost, err := b.fill(t.Context(), []fill{{k, token, newSlot(found, version, []byte("payload"))}})
	if err != nil {
		t.Fatal(err)
	}
	return lost == 0
}

func applyTo(t testing.TB, b backend, changes ...change) {
	t.Helper()
	if err := b.apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

func TestBackendLeases(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		k := userKey("leases")
		one, two := strings.Repeat("1", 16), strings.Repeat("2", 16)
		if !acquire(t, b, k, one) || acquire(t, b, k, two) {
			t.Error("a lease is for one flight")
		}
		if fillAs(t, b, k, two, 1) {
			t.Error("filled with another's token")
		}
		if !fillAs(t, b, k, one, 1) || fillAs(t, b, k, one, 2) {
			t.Error("a lease fills once")
		}
		holds(t, b, k, found, 1)
		if acquire(t, b, k, two) {
			t.Error("a lease over a value")
		}
	})
}

// The counter-example to a token for a client: the first flight of two has an old
// value, the second has the lease.
func TestBackendFillsForOneFlight(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		k := userKey("flights")
		acquire(t, b, k, "first flight 128")
		applyTo(t, b, change{key: k, version: 2}) // The lease is gone.
		acquire(t, b, k, "second flight 12")
		if fillAs(t, b, k, "first flight 128", 1) {
			t.Error("the first flight filled the lease of the second")
		}
		if !fillAs(t, b, k, "second flight 12", 2) {
			t.Error("the second flight lost its lease")
		}
		holds(t, b, k, found, 2)
	})
}

func TestBackendApplies(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		value := func(version int64) string { return newSlot(found, version, []byte("payload")).raw }
		k := userKey("applies")
		applyTo(t, b, change{key: k, version: 2, raw: value(2)})
		holds(t, b, k, nothing, 0) // An empty slot has no version to compare.
		acquire(t, b, k, "0123456789abcdef")
		applyTo(t, b, change{key: k, version: 2, raw: value(2)})
		holds(t, b, k, nothing, 0)
		acquire(t, b, k, "0123456789abcdef")
		fillAs(t, b, k, "0123456789abcdef", 9)
		applyTo(t, b, change{key: k, version: 9, raw: value(9)}, change{key: k, version: 8, raw: value(8)}, change{key: k, version: 8})
		holds(t, b, k, found, 9)
		applyTo(t, b, change{key: k, version: 10, raw: value(10)}) // Compared as numbers.
		holds(t, b, k, found, 10)
		applyTo(t, b, change{key: k, version: 11, raw: newSlot(tombstone, 11, nil).raw})
		holds(t, b, k, tombstone, 11)
		applyTo(t, b, change{key: k, version: 12})
		holds(t, b, k, nothing, 0)
		e := emailKey("someone@example.com")
		acquire(t, b, e, "0123456789abcdef")
		fillAs(t, b, e, "0123456789abcdef", 9)
		applyTo(t, b, change{key: e, version: 1})
		holds(t, b, e, nothing, 0)
	})
}

func TestBackendRelays(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		k, begun := userKey("relays"), unmoved
		bucket := b.bucket(k)
		mark := func() store.Cursor {
			marks, err := b.marks(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return marks[bucket]
		}
		acquire(t, b, k, "0123456789abcdef")
		fillAs(t, b, k, "0123456789abcdef", 1)
		if err := b.begin(t.Context(), bucket, "7", "7"); err != nil || mark() != begun {
			t.Fatalf("the watermark is %q, %v, want %s: it is there already", mark(), err, begun)
		}
		if err := b.relay(t.Context(), move{bucket, begun, "6", []change{{key: k, version: 2}}}); err != nil || mark() != "6" {
			t.Fatalf("the watermark is %q, %v, want 6", mark(), err)
		}
		holds(t, b, k, nothing, 0)
		if err := b.relay(t.Context(), move{bucket, begun, "9", nil}); err != nil || mark() != "6" {
			t.Fatalf("the watermark is %q, %v, want 6: another was first", mark(), err)
		}
	})
}
