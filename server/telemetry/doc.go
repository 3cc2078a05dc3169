// Package telemetry is what operators see of the server: metrics, spans, and log lines of
// calls. It names no user by anything but an id.
//
//   - calls.go: metrics of calls; calllog.go: their lines in the log; spans.go: their spans.
//   - operations.go: metrics and spans of what databases are asked; store.go: of the store,
//     and how busy it is.
//   - admission.go, cache.go, http2.go, large.go and watchers.go: the counts of admission, of
//     the cache, of the HTTP/2 engine, of large messages and of watchers as metrics;
//     panics.go: panics outside of calls; build.go: what runs. collect.go has what they share.
//
// A cached read is measured by a few additions to counters that were looked up before, and
// allocates nothing for it.
package telemetry
