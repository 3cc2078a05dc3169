// Package edge stands between the socket and Connect: what a peer may cost before anybody
// knows who it is, and what Connect and net/http leave to be done for other makers' clients
// and proxies.
//
//   - graceful.go lets peers over HTTP/1.1 know before the server stops, or when their connection
//     is old, and waits for them;
//     backlog_unix.go sees those who have not been accepted yet.
//   - hosts.go answers for known hosts only; cors.go, pages of known origins.
//   - authorize.go lets in callers whom package auth knows, before their body is read, and
//     ends the streams of those whose credentials have gone.
//   - unread.go ends answers that nobody reads, where the engine does not.
//   - head.go answers a HEAD; panics.go answers for handlers that panic, where the engine does
//     not.
//   - callers.go says whose a call is; streams.go bounds how many streams they have open.
//   - refuse.go answers calls that never get to Connect, and lets the peer finish what it
//     sends, within bounds; headers.go refuses what is wrong with a header, where Connect
//     would do so without a reason; errors.go finishes the errors of Connect's unary calls.
//     How large a header may be is for the servers themselves: see listeners.go of package
//     server.
package edge

import "net/http"

// Middleware is one of the things that requests pass.
type Middleware func(next http.Handler) http.Handler
