// Package server serves user.v1.UserService: gRPC, gRPC-Web and the Connect
// protocol, protobuf and JSON, HTTP/1.1 and HTTP/2, on one listener.
//
// A call passes, from the outside in:
//
//   - the bound on connections (connections.go); net/http, or for HTTP/2 the engine of
//     package h2 (http2.go), and the last answers before they stop (graceful.go),
//   - for unary calls that come whole, the lane (package lane), which takes them straight
//     to the interceptors,
//   - for streams, gathering what they send and receive (flush.go),
//   - CORS, and the translation of grpc-web-text (http.go, cors.go, webtext.go),
//   - Connect, which speaks the protocols, with our codecs and compressors
//     (codec.go, compress.go),
//   - the interceptors: telemetry (telemetry.go), errors (errors.go) and
//     validation by the rules of the schema (validate.go), of which those for the
//     most frequent messages are here once more, as loops (accept.go),
//   - the handler (users.go, streams.go, watch.go), which turns a request into
//     one call of the store and its answer into a response (convert.go).
//
// Reads, lists and watches send users as they are encoded: those of the cache, or
// made so from the store at once (reads.go, list.go, feed.go). As protobuf they are
// copied to the wire, as JSON they are written from their bytes (encoded.go,
// json.go). TestChainBudget says what a cached read may allocate on its way.
//
// Handlers return the store's errors as they are. One table in errors.go gives
// each its code and reason; what the table does not know is INTERNAL, and its
// cause goes to the log only.
package server
