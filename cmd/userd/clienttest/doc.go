// Package clienttest runs one scenario with clients of other makers against the
// real userd, and checks that all of them get the same, expected answers: curl,
// grpcurl, @grpc/grpc-js, @connectrpc/connect-node, grpcio for Python, and in a
// browser @connectrpc/connect-web and grpc-web.
//
// The scenario is told once, in Go, in JSON messages of the schema. curl and
// grpcurl take those as they are. The other clients are small programs below
// testdata, one process each, that do what lines on their standard input say and
// report on their standard output. They know the schema only from descriptors
// that they get at run time.
//
//	{"call": 1, "method": "CreateUser"}    opens a call
//	{"call": 1, "send": {…}}               sends a request
//	{"call": 1, "close": true}             ends the requests
//	{"call": 1, "cancel": true}            cancels the call
//
//	{"call": 1, "response": {…}}           a response came in
//	{"call": 1, "end": {"code": 0, "message": "", "details": […], "trailer": {…}}}
//
// Codes are numbers, details are the JSON of google.protobuf.Any.
//
// .ci/install installs the clients; a test whose client is missing fails.
package clienttest
