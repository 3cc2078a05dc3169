//go:build !race

package server_test

const (
	raceFactor  = 1
	raceAllocs  = 1
	auditedRows = 100_000
)
