package load

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestZipfChoosesInProportion(t *testing.T) {
	t.Parallel()
	const users, choices = 1000, 1_000_000
	z := NewZipf(users)
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
}
