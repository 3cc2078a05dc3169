//go:build race

package cache

// raceDetector makes everything several times slower: the model has one writer
// then, and a history as many reads as it gets.
const raceDetector = true
