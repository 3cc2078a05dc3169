//go:build race

package server_test

const (
	// raceFactor is how much more CPU the race detector may cost.
	raceFactor = 20
	// raceAllocs is how many more allocations: it empties pools.
	raceAllocs = 1.3
	// auditedRows is how many rows an import has whose lines are counted: with the race
	// detector it takes minutes.
	auditedRows = 10_000
)
