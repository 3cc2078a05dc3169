// Package cache reads users from memory and says how old they may be.
//
// A [Cache] is a store over a store. Before the store lie two tiers: a near cache
// in this process, and Redis, which all servers share and which tells each near
// cache what has changed (client-side caching). Without Redis the same protocol
// runs over a map in this process.
//
// # Promises
//
//  1. A server shows its own acknowledged writes, and never an older version of a
//     user than it has shown before.
//  2. With [Read.MinVersion] the same holds across servers. Without it a server is
//     behind by at most X, [Config.Staleness], whatever fails. The time in which its
//     machine is suspended counts; only a virtual machine whose clocks all stand still
//     while it is paused cannot know, and X is of its own time.
//  3. After a crash, a partition, a flush or a failover heals, the cache is trusted
//     again within three seconds, without an operator.
//  4. A stale value is never put back into the cache.
//  5. Redis is optional at every moment: no call fails for it, and none waits longer
//     than 300 ms for it.
//
// # Protocol
//
// A slot holds a value, a tombstone (deleted, or no such user) or a lease, each
// with a version. Four operations change it, in Redis one script each:
//
//   - acquire puts a lease with a new random token into an empty slot, where there is a
//     watermark: a data set that has lost everything is empty when it gets one.
//   - fill replaces exactly that lease by what the store said after the grant.
//   - apply makes a committed write known: it deletes a lease, replaces what is
//     older, and never inserts into an empty slot, which has no version to compare.
//   - relay applies a batch of the change log and moves the watermark over it, in
//     one step, where nobody else has.
//
// A write commits, raises the floor of the user on this server, applies, waits for
// the invalidation of its own near cache (50 ms at most), and answers. What a
// writer that dies leaves undone the relay does: every server runs one, and the
// watermark in the data set picks the winner.
//
// The watermark says how much of the change log a data set contains, and goes where
// the data go: into a restart from disk, onto a replica that is promoted. Each
// server samples the end of the log in the store, and hears the watermark every
// 200 ms, on the connection on which it hears of changes and behind them. What its
// near cache holds is then as fresh as the newest sample that the watermark covers.
// Reads come from the cache while that is at most X ago, by one clock of one
// process, which goes on while the machine is suspended. Floors, which last for longer
// than X, do the rest: they send reads to the store while the cache may be behind what
// this server has shown, or has said is gone, or was told by the store of who has a name.
//
// What was heard is worth nothing once a connection is lost, Redis is flushed, or
// another node answers: the watermark must then cover a sample that is newer. A reply
// that shows that the node is not the primary, or has no data yet, is a lost
// connection, not an answer: all connections are dropped, and the address is dialled
// anew. A demoted node answers reads, so each heartbeat also runs a script that Redis
// refuses where it would refuse a write.
//
// model_test.go checks this protocol in all its states, and that each weaker one
// breaks. Histories check what a model leaves out: those of faults_test.go and
// catches_test.go with backends that leave a part of it out (weak_test.go), those of
// cmd/userd with servers.
//
// # Files
//
//   - cache.go: Config, New and Close. read.go and write.go: the calls of the store that
//     the cache takes part in; read.go decides of each value whether it may be shown (allowed),
//     and what is read anew.
//     flights.go lets those who miss one user share a read.
//   - pulse.go keeps the cache fresh, and decides whether as a whole it is trusted: by
//     samples.go (the end of the log in the store) and heartbeat.go (the watermark in Redis).
//     status.go says so in the log. floors.go has what this server has shown,
//     clock.go the time.
//   - backend.go is what keeps slots (slot.go, keys.go): memory.go in the process, in a map
//     that sieve.go bounds; redis.go and scripts.go in Redis, with connection.go for what is kept
//     here of one connection to it. dial.go and redisurl.go find Redis.
//   - cause.go: why Redis cannot be used. stats.go: counts. check.go compares all of
//     Redis with the store, for `userd cache check`; no read passes it.
//
// # Redis
//
// Redis 7 or newer, with maxmemory set and maxmemory-policy volatile-lru, because the
// watermark has no time to live and must survive. A user of Redis needs the
// rights ~userd:* +@connection +@string +@keyspace +@transaction +@scripting, with
// Sentinels +role, and in a Cluster +cluster|shards +cluster|slots; a user of the
// Sentinels needs &* +@connection +@pubsub +sentinel. Keys hold no email, only hashes
// of them. In a Cluster, users are spread over 16 buckets, each with a watermark;
// while one node is away none is used.
//
// What goes wrong is told by its cause (cause.go), found where it arises: in the
// dial, the handshake, the first byte of the peer, the code of an error reply, and in
// which command it is that Redis refuses. The log tells it once for each state, in
// words of this package: what Redis says stays here.
package cache
