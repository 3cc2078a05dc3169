// Package status serves userd.admin.v1.StatusService: how the server is doing, for people who
// look at it.
//
//   - status.go: the stream, and the look at the metrics that all watchers share.
//   - response.go: what has happened between two looks.
//   - metrics.go reads what a registry of metrics holds.
//
// Nothing is counted for it. It reads the metrics that package telemetry and others have put
// into the registry of the server, as a scrape does, and only while somebody watches.
package status
