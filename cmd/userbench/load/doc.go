// Package load makes calls of user.v1.UserService at a rate that other generators
// do not reach on one processor, checks every answer, and keeps the latencies.
//
// [Generator] makes unary calls over gRPC, Connect on HTTP/2 and Connect on
// HTTP/1.1, in a closed or an open loop. [Session] makes streaming calls.
//
// HTTP/2 is spoken in frames of golang.org/x/net/http2 with its HPACK. A connection
// has one goroutine, which takes all the frames that one read has brought, answers
// each response with the next request, and sends those with one write.
package load
