// Package lab starts the programs that a benchmark needs: userd and its peers,
// built once, and private PostgreSQL and Redis servers, found as the tests find
// them. It pins each to its processors, reads what they have used of the machine,
// and ends them all, however the benchmark ends.
//
// The server that is measured has a processor of its own. The load has the second
// one, and so have PostgreSQL and Redis on a machine with only two; with more they
// have the others. On a machine with one nothing is pinned.
package lab
