// Package interop lets clients of other makers play the same scenarios with userd,
// directly, over TLS and behind proxies.
//
// A client is started once and then reads lines "SCENARIO RUN COUNT" from its standard
// input. For each it prints one line: what it saw, or "failed: " and why. The test says
// what it has to be. RUN begins the email address of every user that the client makes.
//
//	unary      a user is created, read, changed, deleted, and read again
//	errors     codes and reasons of four calls that fail
//	gzip       compressed requests and responses
//	encoding   a call with a compression that the server does not know, and one without
//	timeout    a call with a grpc-timeout that is none, and one without
//	deadline   a watch ends after 300 ms with DEADLINE_EXCEEDED
//	cancel     the client ends a watch
//	metadata   a header of COUNT bytes and one of every byte value
//	keepalive  a watch of COUNT messages, with pings in between
//	together   COUNT calls at once
//	idle       a call, COUNT seconds of idleness, and another
//	list       counts the users of RUN in a list of all
//	watch      counts the changes of RUN, from the earliest on
//	import     COUNT rows, 100,000 a stream
//	updates    COUNT updates of the imported users through one bidi stream
package interop
