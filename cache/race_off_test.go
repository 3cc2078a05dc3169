//go:build !race

package cache

// raceDetector makes the model ten times slower, so it has one writer then.
const raceDetector = false
