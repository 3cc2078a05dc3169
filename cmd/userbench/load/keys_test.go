package load

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestZipfChoosesInProportion(t *testing.T) {
	t.Parallel()
	const users, choices = 1000, 1_000_000
	z := NewZipf(users, 1)
	random := rand.New(rand.NewPCG(1, 2))
	counts := make([]float64, users)
	for range choices {
		counts[z.Choose(random)]++
	}
	for _, i := range []int{0, 1, 9, 99} {
		want := counts[0] / float64(i+1)
		if math.Abs(counts[i]-want) > 5*math.Sqrt(want) {
			t.Errorf("user %d was chosen %.0f times, user 0 %.0f times", i, counts[i], counts[0])
		}
	}
	top := 0.0
	for _, count := range counts[:100] {
		top += count / choices
	}
	if math.Abs(top-z.Share(100)) > 0.005 {
		t.Errorf("the first 100 were chosen in %f of the cases, Share says %f", top, z.Share(100))
	}
}

func TestShareHasItsBounds(t *testing.T) {
	t.Parallel()
	z := NewZipf(10, 1)
	if z.Share(0) != 0 || math.Abs(z.Share(10)-1) > 1e-9 || math.Abs(z.Share(99)-1) > 1e-9 {
		t.Errorf("shares %f, %f, %f", z.Share(0), z.Share(10), z.Share(99))
	}
}
