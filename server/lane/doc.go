// Package lane is the fast way for unary calls that have arrived whole: from their
// header and message to connect.Server.Call, and from there to header, message and
// trailer, for gRPC, gRPC-Web and Connect, protobuf and JSON alike.
//
// A call that waits for nothing, such as the read of a user who is at hand, is served where
// it was read, and then used again for another one (engine.go, http.go). So nothing that
// such a call begins may keep its context or its stream when it is over.
//
// An answer that waits for its caller to read it is counted (Config.Count): many of them are
// more than the memory of a server, so that one may be refused or given up.
//
// What it takes it answers as connecthttp does, to the byte, which the tests compare.
// What is out of the ordinary it leaves to connecthttp, which has the general way: a
// message that does not keep to the framing of its protocol, is too large or cannot be
// unpacked, an unknown compression or content type, a broken timeout.
//
//   - lane.go decides from a header whether a call is taken, of which protocol it is, and
//     which compression its answer may have; what it found is a profile, which calls with the
//     same header can share.
//   - query.go reads the query of a Connect GET, of which lane.go makes a call like others.
//   - timeouts.go reads the timeouts of the protocols.
//   - message.go takes a message out of a body, and puts one into a body.
//   - call.go is the call, what interceptors and handlers see as their stream: it decodes the
//     request, encodes the response, and compresses one that is large enough; or it is refused
//     before it begins.
//   - answer.go puts together what goes back, by protocol.
//   - fit.go leaves out what a caller's HTTP/2 does not take of a header or trailer.
//   - http.go and engine.go are the ways in: requests of net/http, and streams of
//     the engine of package h2.
package lane
