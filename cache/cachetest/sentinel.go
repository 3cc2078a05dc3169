package cachetest

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Sentinel is a primary, a replica of it, and one Sentinel that watches them as
// "users".
type Sentinel struct {
	Primary, Replica *Redis
	sentinel         *Redis
}

// StartSentinel runs the three processes and returns when the replica follows. With
// a security, the Sentinel has its own user, and its certificate is for localhost,
// while those of the others are for 127.0.0.1.
func StartSentinel(t testing.TB, secure *Security) *Sentinel {
	t.Helper()
	primary := StartSecure(t, secure)
	replica := StartReplica(t, primary)
	sentinel := newRedis(t)
	sentinel.network, sentinel.address, sentinel.secure = "tcp", FreeAddress(t), secure
	file := filepath.Join(sentinel.dir, "sentinel.conf")
	settings := fmt.Sprintf(`port %s
bind 127.0.0.1
dir %s
sentinel monitor users 127.0.0.1 %s 1
sentinel down-after-milliseconds users 2000
sentinel failover-timeout users 3000
`, sentinel.Port(), sentinel.dir, primary.Port())
	if secure != nil {
		sentinel.address = "localhost:" + sentinel.Port()
		settings += secure.sentinelSettings(t, sentinel.Port())
	}
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel.args = []string{file, "--sentinel"}
	sentinel.Up()
	s := &Sentinel{Primary: primary, Replica: replica, sentinel: sentinel}
	await(t, "the Sentinel knows the replica", func() bool {
		return strings.Contains(text(sentinel, "INFO", "sentinel"), "slaves=1")
	})
	return s
}

// sentinelSettings are further lines of a Sentinel's configuration.
func (s *Security) sentinelSettings(t testing.TB, port string) string {
	t.Helper()
	lines := fmt.Sprintf(`sentinel auth-user users %s
sentinel auth-pass users %s
user default off
user %[1]s on >%[2]s ~* &* +@all
user %[3]s on >%[4]s &* +@connection +@pubsub +sentinel
`, rootName, s.root, userName, s.SentinelPassword)
	tls := s.tlsSettings(t, "localhost", port)
	for i := 0; i < len(tls); i += 2 {
		lines += strings.TrimPrefix(tls[i], "--") + " " + tls[i+1] + "\n"
	}
	return lines
}

// StartReplica runs a replica of a server that listens on TCP, and returns when it
// follows.
func StartReplica(t testing.TB, primary *Redis) *Redis {
	t.Helper()
	primary.Set("repl-diskless-sync-delay", "0")
	replica := StartSecure(t, primary.secure)
	replica.Do("REPLICAOF", "127.0.0.1", primary.Port()) // No setting: promoted, it stays a primary.
	await(t, "the replica follows", func() bool {
		return strings.Contains(text(replica, "INFO", "replication"), "master_link_status:up")
	})
	return replica
}

// Succeed makes a replica the primary, and the primary its replica, which all clients
// keep.
func (r *Redis) Succeed(primary *Redis) {
	r.t.Helper()
	r.Do("REPLICAOF", "NO", "ONE")
	primary.Do("REPLICAOF", "127.0.0.1", r.Port())
}

// URL is how a client names the set.
func (s *Sentinel) URL() string {
	if secure := s.Primary.secure; secure != nil {
		return secureURL(s.sentinel.address, userName, secure.Password) + "?master_set=users&" +
			url.Values{"sentinel_username": {userName}, "sentinel_password": {secure.SentinelPassword}}.Encode()
	}
	return "redis://" + s.sentinel.address + "?master_set=users"
}

// AwaitFailover returns when the replica has become the primary.
func (s *Sentinel) AwaitFailover() {
	s.Replica.t.Helper()
	await(s.Replica.t, "the replica is promoted", func() bool {
		return strings.Contains(text(s.Replica, "INFO", "replication"), "role:master")
	})
}

func text(r *Redis, command ...string) string {
	answer, err := r.Try(command...)
	if err != nil {
		return ""
	}
	words, _ := answer.ToString()
	return words
}

// await returns when a foreign process has come to a state. It sends no event, so
// it is asked again and again.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(3 * startTimeout)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
		<-again.C
	}
}
