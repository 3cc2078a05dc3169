package cache

import (
	"context"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/example/userd/cache/cachetest"
)

// BenchmarkNearHit is a read that the near cache answers, through the whole
// layer: floor, version, trust and clock.
func BenchmarkNearHit(b *testing.B) {
	for _, backend := range []string{"process", "redis"} {
		b.Run(backend, func(b *testing.B) {
			bundle := &bundle{store: newFakeStore()}
			if backend == "redis" {
				bundle.url = cachetest.Start(b).URL()
			}
			c := bundle.open(b)
			ids := make([]string, 1000)
			for i := range ids {
				ids[i] = bundle.user(b).ID
				warm(b, c, ids[i], 1)
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				ctx := context.Background()
				for i := 0; p.Next(); i++ {
					if e, err := c.Lookup(ctx, ids[i%len(ids)], Read{}); err != nil || !e.Found {
						b.Fatal(e, err)
					}
				}
			})
		})
	}
}

// zipf draws ranks from 0 with probability proportional to 1/(rank+1).
type zipf struct {
	random *rand.Rand
	sums   []float64
}

func newZipf(n int, seed uint64) *zipf {
	z := &zipf{random: rand.New(rand.NewPCG(seed, seed)), sums: make([]float64, n)}
	sum := 0.0
	for i := range n {
		sum += 1 / float64(i+1)
		z.sums[i] = sum
	}
	return z
}

func (z *zipf) rank() int {
	at := z.random.Float64() * z.sums[len(z.sums)-1]
	return min(sort.SearchFloat64s(z.sums, at), len(z.sums)-1)
}

// best is the share of reads that a cache of this size could answer if it always
// held the users that are read most. Where a write removes what is cached, the read
// that follows it finds nothing.
func (z *zipf) best(size int, removed float64) float64 {
	return (1 - removed) * z.sums[size-1] / z.sums[len(z.sums)-1]
}

// BenchmarkZipf reads 100,000 users, some often and most seldom, with 5 % writes,
// and says what the near cache of 10,000 entries, and all caches together, saved.
func BenchmarkZipf(b *testing.B) {
	const users, writes = 100_000, 0.05
	for _, backend := range []string{"process", "redis"} {
		b.Run(backend, func(b *testing.B) {
			bundle, removed := &bundle{store: newFakeStore()}, 0.0
			if backend == "redis" {
				bundle.url, removed = cachetest.Start(b).URL(), writes
			}
			ids := make([]string, users)
			for i := range ids {
				ids[i] = bundle.user(b).ID
			}
			c := bundle.open(b)
			z := newZipf(users, 1)
			step := func() {
				id := ids[z.rank()]
				if z.random.Float64() < writes {
					rename(b, c, id, "new")
				} else if _, err := c.Lookup(context.Background(), id, Read{}); err != nil {
					b.Fatal(err)
				}
			}
			for batch := range slices.Chunk(ids, 100) { // All are in the shared tier,
				if _, err := c.LookupMany(context.Background(), batch, Read{}); err != nil {
					b.Fatal(err)
				}
			}
			for range 200_000 { // and those read most in the near cache.
				step()
			}
			before := c.Stats()
			b.ResetTimer()
			for range b.N {
				step()
			}
			b.StopTimer()
			s := c.Stats()
			near, shared := s.NearHits-before.NearHits, s.SharedHits-before.SharedHits
			reads := float64(near + shared + s.Misses - before.Misses)
			b.ReportMetric(100*float64(near)/reads, "%near-hits")
			b.ReportMetric(100*z.best(defaultMaxEntries, removed), "%best-near")
			b.ReportMetric(100*float64(near+shared)/reads, "%hits")
			b.ReportMetric(100*(1-float64(s.StoreReads-before.StoreReads)/reads), "%store-reads-avoided")
		})
	}
}

func TestZipf(t *testing.T) {
	t.Parallel()
	z := newZipf(1000, 1)
	counts := make([]int, 1000)
	for range 100_000 {
		counts[z.rank()]++
	}
	if most := slices.Max(counts); most != counts[0] {
		t.Errorf("rank 0 is drawn %d times, another %d", counts[0], most)
	}
}
