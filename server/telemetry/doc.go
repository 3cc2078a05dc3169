// Package telemetry is what operators see of the server: metrics, spans, and log lines of
// calls. It names no user by anything but an id.
//
//   - calls.go: metrics, log lines and spans of calls.
//   - admission.go, cache.go, catchup.go, http2.go and large.go: the counts of admission, of
//     the cache, of watchers that catch up, of the HTTP/2 engine and of large messages as
//     metrics; panics.go: panics outside of calls. collect.go has what they share.
package telemetry
