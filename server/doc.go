// Package server serves user.v1.UserService and userd.admin.v1.StatusService: gRPC, gRPC-Web
// and the Connect protocol, protobuf and JSON, HTTP/1.1 and HTTP/2, on one listener.
//
// The package itself puts the parts together. Its rooms, each above those that it may
// import:
//
//	server        Config, New, Serve, Shutdown; the order of what a request passes
//	├─ users      what the RPCs do
//	├─ watch      watchers: who follow the change log
//	├─ status     how the server is doing, for people who look at it
//	├─ telemetry  metrics, spans, log lines
//	├─ edge       between the socket and Connect
//	├─ body       bodies of requests: how long they may take to come, frames, sizes
//	├─ webtext    the base64 form of gRPC-Web
//	├─ gather     streams of responses in larger pieces; the end of those that nobody reads
//	├─ auth       who may do what; auth/jwk, the keys of an issuer of JWT
//	├─ audit      a line for each write
//	├─ lane       the fast way for unary calls that have come whole
//	├─ wire       a user on the wire
//	├─ rules      which requests are valid
//	├─ packing    compression, and what large messages hold
//	├─ connections  how many are open, and which go first
//	├─ console    the web page for people
//	├─ openapi    the description for clients of plain HTTP; openapi/generate makes it
//	├─ static     files that are in the program
//	├─ etag       tags of what a caller has already
//	├─ regular    files that are read again when they change
//	├─ failure    how failures look to callers
//	├─ admission  a store whose calls begin when they may; whoever opens the store puts it there
//	└─ h2         HTTP/2 for any http.Handler
//
// In the package itself, config.go has the settings, server.go what a request passes and in
// which order Shutdown goes, listeners.go the servers of HTTP/1.1 and HTTP/2 with their bounds,
// such as the size of headers, admin.go metrics and probes, health.go the health service of
// gRPC, ready.go whether the store answers, and refuse.go the lookups that do not begin.
//
// A connection is counted (connections) and served by net/http, or for HTTP/2 by h2. What its
// requests pass, and in which order, stands in server.go: the handler first, then the
// interceptors, then package users. Unary calls that have come whole leave the handler
// half way, through the lane, straight to the interceptors. On streams of h2 they do not
// even begin it. Streams pass all of it, but not each message of theirs: one that was read
// whole is decoded where it lies (body/athand.go), and one that is encoded already is appended
// to what goes out (gather/encoded.go), unless there is something out of the ordinary with it.
//
// Reads, lists and watches send users as they are encoded: those of the cache, or made so
// from the store at once. As protobuf they are copied to the wire, as JSON they are written
// from their bytes. TestChainBudget says what a cached read may allocate on its way.
//
// Handlers return the store's errors as they are. One table in package failure gives each
// its code and reason; what the table does not know is INTERNAL, and its cause goes to the
// log only.
package server
