package connections

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// searchInterval is the least time between two searches of which the first has found
// nothing: each looks at all connections.
const searchInterval = 50 * time.Millisecond

// search is what a look at all connections has found that can be closed. It serves for
// many, since what has become idle later comes later.
type search struct {
	found  []candidate // The next is the last.
	failed time.Time   // When nothing was found.
}

// candidate is a connection that can be closed as long as its rank is the same.
type candidate struct {
	conn *connection
	rank int64
}

// victim is the connection that is to be closed for one from this address, or nil.
func (c *Limiter) victim(from netip.Prefix) *connection {
	c.searching.Lock()
	defer c.searching.Unlock()
	c.mu.Lock()
	heavy, isHeavy := c.heavy, c.isHeavy(c.heavy)
	c.mu.Unlock()
	if !isHeavy {
		return c.next(&c.idle, (*connection).idle, nil)
	}
	if c.searched != heavy {
		c.searched, c.heavyIdle, c.heavyLast = heavy, search{}, search{}
	}
	if idle := c.next(&c.heavyIdle, (*connection).idle, &heavy); idle != nil || from == heavy {
		return idle
	}
	return c.next(&c.heavyLast, (*connection).lateness, &heavy)
}

// lateness ranks the connections of an address: the one that came last is the first to go.
func (c *connection) lateness() int64 { return -int64(c.number) }

// next is the connection of an address, or of all, that has the lowest rank. A rank of 0 is
// that of one that must stay.
func (c *Limiter) next(s *search, rank func(*connection) int64, of *netip.Prefix) *connection {
	for range 2 {
		for len(s.found) > 0 {
			next := s.found[len(s.found)-1]
			s.found = s.found[:len(s.found)-1]
			if rank(next.conn) == next.rank && c.isOpen(next.conn) {
				return next.conn
			}
		}
		now := time.Now()
		if now.Sub(s.failed) < searchInterval {
			return nil
		}
		if s.found = c.search(rank, of); len(s.found) == 0 {
			s.failed = now
			return nil
		}
	}
	return nil
}

// search looks at all connections. What asks them may lock, so c.mu is not held meanwhile.
func (c *Limiter) search(rank func(*connection) int64, of *netip.Prefix) []candidate {
	c.mu.Lock()
	found := make([]candidate, 0, len(c.open))
	for conn := range c.open {
		if of == nil || conn.address == *of {
			found = append(found, candidate{conn: conn})
		}
	}
	c.mu.Unlock()
	for i := range found {
		found[i].rank = rank(found[i].conn)
	}
	found = slices.DeleteFunc(found, func(c candidate) bool { return c.rank == 0 })
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(b.rank, a.rank) })
	return found
}

func (c *Limiter) isOpen(conn *connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, open := c.open[conn]
	return open
}
