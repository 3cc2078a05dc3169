package load

import (
	"math/rand/v2"
	"slices"
)

// Keys chooses users.
type Keys interface {
	Choose(random *rand.Rand) int
}

// Uniform chooses each of this many users equally often.
type Uniform int

// Choose implements [Keys].
func (u Uniform) Choose(random *rand.Rand) int { return random.IntN(int(u)) }

// Zipf chooses user i in proportion to 1/(i+1). The one of math/rand/v2 needs an
// exponent above 1.
type Zipf []float64 // Of the sum of these shares, those of users 0 to i together.

// NewZipf returns a choice among n users.
func NewZipf(n int) Zipf {
	z, total := make(Zipf, n), 0.0
	for i := range z {
		total += 1 / float64(i+1)
		z[i] = total
	}
	return z
}

// Choose implements [Keys].
func (z Zipf) Choose(random *rand.Rand) int {
	i, _ := slices.BinarySearch(z, random.Float64()*z[len(z)-1])
	return i
}
