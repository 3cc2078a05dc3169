package cachetest

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// Fault breaks something while servers are under load, and mends it.
type Fault struct {
	Name string
	Do   func()
	Long bool // It takes more than a second or so.
}

// Site is one Redis, and the proxies through which servers use it.
type Site struct {
	Primary *Redis

	t       testing.TB
	mu      sync.Mutex
	proxies []*Proxy
}

// NewSite starts a Redis.
func NewSite(t testing.TB) *Site {
	t.Helper()
	return &Site{t: t, Primary: StartTCP(t)}
}

// Proxy returns a new way to the Redis.
func (s *Site) Proxy() *Proxy {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := StartProxy(s.t, s.Primary)
	s.proxies = append(s.proxies, p)
	return p
}

// Faults are all that can happen to the Redis and on the way to it, in an order
// that is good for a test: what follows the restarts finds data.
func (s *Site) Faults() []Fault {
	return []Fault{
		{Name: "kill -9 and an empty restart", Do: func() {
			s.Primary.Kill()
			Run(s.t, time.Second)
			s.Primary.RestartEmpty()
		}},
		{Name: "kill -9 and a restart from an old RDB file", Long: true, Do: func() {
			s.Primary.Save()
			Run(s.t, 2*time.Second)
			s.Primary.Kill()
			s.Primary.Up()
		}},
		{Name: "a frozen Redis for 0.1 s", Do: func() { s.freeze(100 * time.Millisecond) }},
		{Name: "a frozen Redis for 1 s", Do: func() { s.freeze(time.Second) }},
		{Name: "a frozen Redis for 10 s", Long: true, Do: func() { s.freeze(10 * time.Second) }},
		{Name: "all clients killed", Do: func() {
			for range 5 {
				s.Primary.KillClients()
				Run(s.t, 100*time.Millisecond)
			}
		}},
		{Name: "FLUSHALL", Do: func() {
			for range 3 {
				s.Primary.Flush()
				Run(s.t, 300*time.Millisecond)
			}
		}},
		{Name: "very little memory", Long: true, Do: func() { s.set("maxmemory", "1500kb", "256mb") }},
		{Name: "a small tracking table", Long: true, Do: func() { s.set("tracking-table-max-keys", "100", "1000000") }},
		{Name: "the promotion of a replica that is behind", Long: true, Do: func() { s.promote(3 * time.Second) }},
		{Name: "a demotion that leaves connections open", Long: true, Do: s.demote},
		{Name: "answers of Redis lost", Long: true, Do: func() { s.lose((*Proxy).LoseAnswers) }},
		{Name: "requests to Redis lost", Long: true, Do: func() { s.lose((*Proxy).LoseRequests) }},
	}
}

// Run lets the load go on for some time.
func Run(t testing.TB, long time.Duration) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func (s *Site) freeze(long time.Duration) {
	s.Primary.Freeze()
	Run(s.t, long)
	s.Primary.Thaw()
}

func (s *Site) set(name, value, normal string) {
	s.Primary.Set(name, value)
	Run(s.t, 3*time.Second)
	s.Primary.Set(name, normal)
}

func (s *Site) lose(lose func(*Proxy, bool)) {
	for _, p := range s.all() {
		lose(p, true)
	}
	Run(s.t, 3*time.Second)
	for _, p := range s.all() {
		lose(p, false)
	}
}

// promote puts a replica in the place of the primary, which stopped following it
// some time before.
func (s *Site) promote(behind time.Duration) {
	replica := StartReplica(s.t, s.Primary)
	replica.Do("REPLICAOF", "NO", "ONE")
	Run(s.t, behind)
	s.Primary.Kill()
	s.mu.Lock()
	s.Primary = replica
	s.mu.Unlock()
	for _, p := range s.all() {
		p.Turn(replica)
	}
}

// demote puts a replica in the place of the primary, which becomes a replica and
// keeps its clients; only new connections lead to the new primary.
func (s *Site) demote() {
	replica := StartReplica(s.t, s.Primary)
	replica.Succeed(s.Primary)
	Run(s.t, time.Second)
	s.mu.Lock()
	s.Primary = replica
	s.mu.Unlock()
	for _, p := range s.all() {
		p.Move(replica)
	}
}

func (s *Site) all() []*Proxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.proxies)
}

// Faults are what can happen to a primary that a Sentinel watches, and to the
// Sentinel.
func (s *Sentinel) Faults() []Fault {
	t := s.Primary.t
	return []Fault{
		{Name: "the Sentinel frozen for 1 s", Do: func() {
			s.sentinel.Freeze()
			Run(t, time.Second)
			s.sentinel.Thaw()
		}},
		{Name: "kill -9 of the primary and a failover", Do: func() {
			s.Primary.Kill()
			s.AwaitFailover()
			s.Primary, s.Replica = s.Replica, s.Primary
		}},
		{Name: "the old primary is back", Do: func() { s.Replica.Up() }},
		{Name: "all clients killed", Do: func() { s.Primary.KillClients() }},
		{Name: "FLUSHALL", Do: func() { s.Primary.Flush() }},
	}
}

// Faults are what can happen to the nodes of a Cluster. Each returns when the Cluster
// is whole again.
func (c *Cluster) Faults() []Fault {
	t := c.Nodes[0].t
	return []Fault{
		{Name: "kill -9 of a node and an empty restart", Do: func() {
			c.Nodes[0].Kill()
			Run(t, time.Second)
			c.Nodes[0].RestartEmpty()
			c.AwaitWhole()
		}},
		{Name: "a frozen node for 0.5 s", Do: func() {
			c.Nodes[1].Freeze()
			Run(t, 500*time.Millisecond)
			c.Nodes[1].Thaw()
			c.AwaitWhole()
		}},
		{Name: "a frozen node for 3 s", Do: func() {
			c.Nodes[2].Freeze()
			Run(t, 3*time.Second)
			c.Nodes[2].Thaw()
			c.AwaitWhole()
		}},
		{Name: "all clients of a node killed", Do: func() { c.Nodes[1].KillClients() }},
		{Name: "FLUSHALL on a node", Do: func() { c.Nodes[2].Flush() }},
	}
}
