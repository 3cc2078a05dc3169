package stats

import "sync/atomic"

// Histogram counts values by bounds. Observing one costs two atomic additions, which a read
// from the cache can pay.
type Histogram struct {
	bounds []int64
	counts []atomic.Int64 // One for each bound, and one for what is larger.
	sum    atomic.Int64
}

// NewHistogram returns a histogram with these bounds, which ascend. Whoever calls leaves them as they are.
func NewHistogram(bounds []int64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Int64, len(bounds)+1)}
}

// Observe counts a value.
func (h *Histogram) Observe(value int64) {
	i := 0
	for i < len(h.bounds) && value > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(value)
}

// Snapshot is what a histogram has counted.
type Snapshot struct {
	Bounds []int64
	Within []int64 // Values that were no larger than each bound.
	Count  int64
	Sum    int64
}

// Snapshot returns what was counted so far. A value that is observed meanwhile may be in a
// part of it.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Bounds: h.bounds, Within: make([]int64, len(h.bounds)), Sum: h.sum.Load()}
	for i := range h.counts {
		s.Count += h.counts[i].Load()
		if i < len(s.Within) {
			s.Within[i] = s.Count
		}
	}
	return s
}
