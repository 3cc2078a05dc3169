// Package telemetry is what operators see of the server: metrics, spans, and log lines of
// calls. It names no user by anything but an id.
//
//   - calls.go: metrics, log lines and spans of calls.
//   - cache.go and http2.go: the counts of the cache and of the HTTP/2 engine as metrics;
//     panics.go: panics outside of calls. collect.go has what they share.
package telemetry
