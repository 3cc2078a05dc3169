// Package cachetest runs private Redis servers for tests, breaks them in every
// way that the cache must survive, and checks histories of reads and writes.
//
// [Start] gives one server, [StartSentinel] a primary with a replica and a
// Sentinel, [StartCluster] three nodes of a Cluster, whose slots can move,
// [StartProxy] a TCP proxy that can swallow one direction. Everything dies with the
// test. [StartInstance] gives a server to a program that is no test. The binary is
// the one that USERD_TEST_REDIS names, else Redis 8 as .ci/redis8 leaves it in
// .tools, else redis-server on the PATH.
package cachetest
