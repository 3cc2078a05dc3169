package auth

import (
	"net/netip"
	"sync"
	"time"

	"github.com/example/userd/server/connections"
)

const (
	// freeFailures is how many requests with wrong credentials an address may send at a
	// time, and failureInterval in which time it may send one more.
	freeFailures    = 64
	failureInterval = 100 * time.Millisecond
	// maxWait is the longest that the answer to one more waits.
	maxWait = time.Second
	// maxWaiting bounds the answers that wait, and maxNetworks the addresses that are
	// remembered. What goes beyond is answered at once: it is to cost no memory.
	maxWaiting, maxNetworks = 1_000, 4_096
)

// slowdown makes those wait who try one token after the other. Only answers to wrong
// credentials wait: who has right ones is not made to wait for what others do behind the
// same address.
type slowdown struct {
	mu      sync.Mutex
	due     map[netip.Prefix]time.Time // When an address has sent no more than it may.
	waiting int
}

// add notes a failure, and returns how long its answer is to wait. Unless that is 0, done
// must follow.
func (s *slowdown) add(from netip.Prefix, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	due, known := s.due[from]
	if !known && len(s.due) >= maxNetworks || s.due == nil {
		s.due = make(map[netip.Prefix]time.Time) // Whoever has so many addresses is not made slower by this.
	}
	if due.Before(now) {
		due = now
	}
	const free = freeFailures * failureInterval
	wait := min(due.Sub(now)-(free-failureInterval), maxWait)
	if wait < maxWait {
		s.due[from] = due.Add(failureInterval)
	}
	if wait <= 0 || s.waiting >= maxWaiting {
		return 0
	}
	s.waiting++
	return wait
}

func (s *slowdown) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
}

// networkOf is the network of a remote address, host:port. What is none of IP is zero.
func networkOf(remote string) netip.Prefix {
	address, _ := netip.ParseAddrPort(remote)
	return connections.NetworkOf(address)
}
