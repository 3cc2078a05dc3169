// Package h2 serves HTTP/2 (RFC 9113) for any http.Handler, and requests that come whole
// without one.
//
// net/http serves a connection with a loop that every frame and every handler
// passes, and writes frame by frame. Here the work stays where it is:
//
//   - One goroutine reads a connection (conn.go). It handles all frames that one
//     read has brought (receive.go), and opens streams (request.go).
//   - Handlers run on goroutines that are kept for the next stream (workers.go).
//     They append their frames to the buffer of the connection, under its lock.
//   - Whoever appends something while nobody writes sees to it that it is written,
//     with all that others append meanwhile (writer.go, which knows how much of an answer
//     the peer's windows let go; flow.go has what the peer may send).
//
// server.go has Config, all connections, and Shutdown, which waits for them; listener.go
// tells those that speak HTTP/2 without TLS from those of HTTP/1.1. frames.go and
// headers.go read and write the two formats of the wire, huffman.go the strings of a path.
// stream.go is what both kinds of requests below have of a stream, body.go what has come
// and is not read yet, stats.go the counts.
//
// There are two ways for a request. An exchange (request.go, response.go) is one
// for the http.Handler, and means there what net/http means. A directStream (direct.go)
// is one for a Direct: what that makes of a header, requests with the same header share
// (routes.go; of a header that differs in its path alone only that is decoded), and it
// gets the body whole. It may leave a request to the Handler all the same. An answer that
// is sure not to block is made on the reader, and leaves with those of the other requests
// of the same read.
//
// # Invariants
//
//   - conn.mu guards all that the reader shares with handlers. It is never held
//     while a handler runs, or while a connection is read or written.
//   - The reader never blocks on a write: it tries the socket once (package socket),
//     and leaves the rest to a goroutine. It stops to read when a peer does not take
//     what it has asked for (outPause).
//   - While conn.out is not empty, the reader is in the middle of a batch
//     (gathering), or somebody writes or is about to (flushing), or the connection
//     is broken (writeErr).
//   - Header blocks are encoded under the lock, in the order in which they are
//     appended: the table of the peer is always the same as ours.
//   - A stream that has DATA to send but no room waits in conn.ready for its turn,
//     one frame at a time, unless its own window has no room; then WINDOW_UPDATE puts
//     it there. A handler is blocked by its own data only.
//   - A stream whose peer does not read is given up: what waits is dropped, and only
//     HEADERS may follow, with the trailers in which the handler says why. Without
//     them, or where the handler does not know, it is reset. A handler that has more to
//     say asks to go on (ResumeWrite), and may where nothing is missing in the middle of
//     what it wrote.
//   - A panic ends its stream, or else its connection, and not the process.
//   - All bytes that were received are in the body of a stream or given back to the
//     connection's window, so that no stream can take it away from the others for
//     ever.
//   - A handler keeps its place among Config.MaxConcurrentStreams until it returns,
//     whatever has become of its stream. ServeConn returns when all have.
//   - The stream and the Call of a request that was served on the reader are used again
//     when the answer has gone out (direct.go). Nobody keeps them for longer; a stream whose
//     answer had to wait is not used again, since the wait may still be cut.
//   - The reader alone opens streams and closes the connection. Others make it do so
//     (conn.fail).
//
// # Memory
//
// A connection has a read buffer of 1 KiB, or 4, 16 or 64 KiB while its peer sends more at
// a time, two HPACK tables of 4 KiB, and at most about outPause bytes that wait for the
// socket (buffers.go). A stream has what its peer has sent and its handler not read, at
// most Config.StreamWindow and for all streams together Config.ConnWindow, and 4 KiB of
// response; what does not fit, the handler waits with. Only the answer of a Direct waits
// whole, of which its Call knows: it can have another one sent, or cut the wait.
//
// # Attacks
//
// Frames that make work and bring nothing are paid for from a budget (budget.go) that
// time and answers refill; when it is used up the connection ends with
// ENHANCE_YOUR_CALM. A WINDOW_UPDATE for DATA that was sent costs nothing. Headers have
// a limit in size after they are decoded (headers.go), some times of it before
// (request.go), and one in time. What takes too long is ended by one goroutine that looks
// at all connections now and then (timeouts.go): silence, slow headers, PING without an
// answer, and peers that do not read.
package h2
