package load

import (
	"math"
	"math/rand/v2"
)

// Keys chooses users.
type Keys interface {
	Choose(random *rand.Rand) int
}

// Uniform chooses each of this many users equally often.
type Uniform int

// Choose implements [Keys].
func (u Uniform) Choose(random *rand.Rand) int { return random.IntN(int(u)) }

// Zipf chooses user i in proportion to 1/(i+1)^s. It is Vose's alias method: one
// look into a table, however many users there are.
type Zipf struct {
	keep  []float64 // Chance that column i stands for user i.
	alias []int32   // The user that it stands for else.
	share []float64 // Of all choices, for users 0 to i together.
}

// NewZipf returns a choice among n users.
func NewZipf(n int, s float64) *Zipf {
	z := &Zipf{keep: make([]float64, n), alias: make([]int32, n), share: make([]float64, n)}
	total := 0.0
	for i := range n {
		z.keep[i] = math.Pow(float64(i+1), -s)
		total += z.keep[i]
		z.share[i] = total
	}
	var small, large []int32
	for i := range n {
		z.share[i] /= total
		z.keep[i] *= float64(n) / total
		if z.keep[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		poor, rich := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		z.alias[poor] = rich
		if z.keep[rich] -= 1 - z.keep[poor]; z.keep[rich] < 1 {
			small, large = append(small, rich), large[:len(large)-1]
		}
	}
	for _, i := range append(small, large...) {
		z.keep[i] = 1
	}
	return z
}

// Choose implements [Keys].
func (z *Zipf) Choose(random *rand.Rand) int {
	column := random.IntN(len(z.keep))
	if random.Float64() < z.keep[column] {
		return column
	}
	return int(z.alias[column])
}

// Share is the part of all choices that the first n users have together. It is the
// hit rate of a cache that holds exactly them.
func (z *Zipf) Share(n int) float64 {
	if n <= 0 {
		return 0
	}
	return z.share[min(n, len(z.share))-1]
}
