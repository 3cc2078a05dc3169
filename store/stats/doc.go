// Package stats is what engines, the cache and the server count of themselves. It has no
// names and no labels: package telemetry shows what is counted as metrics.
//
//   - histogram.go: values, by bounds.
//   - plans.go: pages of lists, by what their users were found by.
//   - store.go and watchers.go: how busy a store is, and those who watch.
package stats
