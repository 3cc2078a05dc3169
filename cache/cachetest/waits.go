package cachetest

import (
	"slices"
	"time"
)

// Stalls are the spans of time in which the control reads of each server were held
// up. They go the way of all reads, but for the cache: what holds them up is the
// machine, the network or the store, and is not the cache's fault. A machine on which
// nothing runs for half a second makes every answer as late, and that says nothing
// about the cache.
type Stalls map[uint16][]span

type span struct{ from, to int64 }

func (s span) long() int64 { return s.to - s.from }

const (
	// usual is how soon after one another two control reads of a server return when
	// nothing holds them up: the pause between them, and some more.
	usual = controlPause + 5*time.Millisecond

	// steps is how many waits, one after another, a read through the cache is made of
	// at worst: for its server, for Redis, for another's lease, for the store, and for
	// the store again where what others brought is too old. Each can be held up as long
	// as a control read is.
	steps = 5

	// around is how long before and after a read a stall counts: no two processes are
	// held up at the same time exactly.
	around = int64(500 * time.Millisecond)
)

// FindStalls returns the stalls of all servers of a history.
func FindStalls(ops []Op) Stalls {
	marks := make(map[uint16][]int64) // When control reads returned, and when the first began.
	for _, op := range ops {
		if op.Client != control || op.End == 0 {
			continue
		}
		if len(marks[op.Server]) == 0 {
			marks[op.Server] = []int64{op.Start}
		}
		marks[op.Server] = append(marks[op.Server], op.End)
	}
	stalls := make(Stalls)
	for server, marks := range marks {
		slices.Sort(marks)
		for i := range marks[1:] {
			if last, next := marks[i], marks[i+1]; next-last > int64(usual) {
				stalls[server] = append(stalls[server], span{last + int64(usual), next})
			}
		}
	}
	return stalls
}

// between returns the stalls of a server that touch the time from one moment to
// another.
func (s Stalls) between(server uint16, from, to int64) []span {
	spans := s[server]
	first, _ := slices.BinarySearchFunc(spans, from, func(s span, from int64) int { return int(min(1, max(-1, s.to-from))) })
	last, _ := slices.BinarySearchFunc(spans, to, func(s span, to int64) int { return int(min(1, max(-1, s.from-to))) })
	return spans[first:max(first, last)]
}

// Longest returns the longest stall.
func (s Stalls) Longest() time.Duration {
	var longest int64
	for _, spans := range s {
		for _, span := range spans {
			longest = max(longest, span.long())
		}
	}
	return time.Duration(longest)
}

// excuse is how much later than it would have been something can be that the cache
// of a server did in this time.
func (s Stalls) excuse(server uint16, from, to int64) time.Duration {
	var total int64
	for _, span := range s.between(server, from-around, to+around) {
		total += span.long()
	}
	return time.Duration(steps * total)
}

// Wait returns how long an operation took, less what stalls excuse.
func (s Stalls) Wait(op Op) time.Duration {
	wait := time.Duration(op.End - op.Start)
	if wait <= usual {
		return wait
	}
	return max(usual, wait-s.excuse(op.Server, op.Start, op.End))
}
