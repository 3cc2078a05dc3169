package stats_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/example/userd/store/stats"
)

func TestValuesAreCountedByBounds(t *testing.T) {
	t.Parallel()
	h := stats.NewHistogram([]int64{1, 10, 100})
	for _, value := range []int64{0, 1, 2, 10, 11, 100, 101, 1000} {
		h.Observe(value)
	}
	s := h.Snapshot()
	if want := []int64{2, 4, 6}; !slices.Equal(s.Within, want) || s.Count != 8 || s.Sum != 1225 {
		t.Errorf("snapshot is %+v, want %d within the bounds", s, want)
	}
}

func TestNothingIsLostBetweenGoroutines(t *testing.T) {
	t.Parallel()
	h := stats.NewHistogram([]int64{5})
	var group sync.WaitGroup
	const each = 1000
	for range 4 {
		group.Go(func() {
			for i := range int64(each) {
				h.Observe(i % 10)
			}
		})
	}
	group.Wait()
	if s := h.Snapshot(); s.Count != 4*each || s.Within[0] != 4*each*6/10 || s.Sum != 4*each*9/2 {
		t.Errorf("snapshot is %+v", s)
	}
}

func TestObservingAllocatesNothing(t *testing.T) {
	h := stats.NewHistogram([]int64{1, 10})
	if allocs := testing.AllocsPerRun(100, func() { h.Observe(7) }); allocs > 0 {
		t.Errorf("observing allocates %v times", allocs)
	}
}
