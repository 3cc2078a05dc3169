// Userbench measures userd end to end, beside its peers, and says which of the
// project's goals are met.
//
//	go run ./cmd/userbench               # all scenarios but the next three, under 10 minutes
//	go run ./cmd/userbench -run overload # five minutes more
//	go run ./cmd/userbench -run principals # two minutes more
//	go run ./cmd/userbench -run search   # four minutes more; -users 10000000 for more users
//	go run ./cmd/userbench -run unary    # one of them
//	go run ./cmd/userbench -quick        # shows in seconds that everything runs
//
// It needs Go, PostgreSQL's programs and redis-server, and finds them as the tests
// do; for tonic run .ci/tonic before. It prints Markdown. A run of everything also
// writes it to RESULTS.md. It fails when an answer was wrong.
//
// Two revisions are compared in one run, in turn, slice by slice:
//
//	git worktree add /tmp/before main~20
//	go run ./cmd/userbench -run unary,wire -before /tmp/before
//
// # How it measures
//
// A server that is measured runs in a process of its own, built from this
// repository, on a processor of its own (package lab). The load comes from this
// process on another one. Configurations that are compared run at the same time of
// day: in turn, a slice of a quarter of a second each, round after round, because a
// machine, a virtual one above all, is not equally fast for two minutes. A figure is
// the median of its rounds, with the quartiles; ratios of one run hold on other
// machines, absolute figures do not.
//
// The generator (package load) must cost less than the server, or it measures
// itself. It speaks HTTP/2 frame by frame, many requests in one system call, and
// checks every answer all the same: the status, the form of the message, and that
// the user is the one that was asked for.
//
// The tables say how busy both are. In a closed loop the server is to be near 100 %
// of its processor. Where it is not and the generator is, the server could have done
// more; where neither is, other programs have had the processors: believe the CPU
// time of a call then, not the rate.
//
// A closed loop, where each answer gives rise to the next request, finds what a
// server carries. Its latencies mean little: a server that stalls gets fewer
// requests while it does. Latencies come from an open loop, which sends at a given
// rate as independent callers do, and counts from the moment at which a call was to
// be sent, also for calls that were never sent because the server had fallen behind.
//
// Scenario overload asks for more than there is. Its open loops send at three times what
// the server carries and never wait for answers. Callers who do not wait for each other
// are not without number: a call that is due when 10,000 are under way is not made, and
// counted apart, as are those that the server refuses. A caller of a closed loop who is
// refused comes again when google.rpc.RetryInfo says. An answer counts when it comes
// within its deadline, by the caller's clock. All figures of a row, the peak and the
// uncontended ones too, are measured while others make a few calls of other classes. Flag
// -rows selects rows, for a look at one.
//
// # What is compared
//
// The peers (folder peers) serve the same users from memory: grpc-go on its own
// transport, and Connect on net/http.
// So does tonic in Rust (folder peers/tonic), on one thread, with the allocator
// mimalloc, everything optimized as one unit for this processor. Script .ci/tonic
// builds it from Debian's packages; where it has not, tonic does not take part.
// h2o, Debian's package of a server in C, shows what HTTP/2 costs without a service, where it is
// installed.
// Folder storeoff is the product's own server on a store that keeps nothing, for
// comparing streams with peers that have no database. Databases are seeded once, by
// an import, and copied.
//
// What the benchmarks of other packages measure better, the store beside PostgreSQL's
// own tools and the work of a cached read, is taken from there, in the same run.
//
// Goals that need something that is not there are rows too, with the reason.
package main
