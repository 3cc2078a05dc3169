//go:build race

package server_test

// raceFactor is how much more CPU the race detector may cost.
const raceFactor = 20
