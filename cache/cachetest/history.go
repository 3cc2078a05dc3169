package cachetest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kind says what an operation did.
type Kind uint8

// The kinds of operation, and the changes of state of a server's cache.
const (
	Get       Kind = iota // A read through the cache.
	NoCache               // A read that asks the store itself.
	ByName                // A search for the name that the user had at MinVersion, and at no other.
	Create                // Version 1.
	Update                // One version more.
	Delete                // One version more, and no user any longer.
	Trusted               // Not an operation: reads may come from the cache from Start on.
	Untrusted             // Not an operation: they may not.
)

// Op is one operation on one user, as the one who called it saw it.
type Op struct {
	Server, Client uint16
	Kind           Kind
	Found          bool // Reads: there is such a user.
	Failed         bool // It returned an error; a write may have happened or not.
	_              bool
	User           uint32
	MinVersion     int32 // Reads: what was asked for.
	Version        int64 // Returned, 0 for none.
	Start, End     int64 // Nanoseconds of a clock that all servers share; End is 0 where it has only begun.
}

// isWrite reports whether it may change its user.
func (o Op) isWrite() bool { return o.Kind >= Create && o.Kind <= Delete }

// told reports whether its caller lived to be told that it was done.
func (o Op) told() bool { return !o.Failed && o.End != 0 }

// Write appends the operation to a history.
func (o Op) Write(w io.Writer) error { return binary.Write(w, binary.LittleEndian, o) }

// ReadHistory reads operations up to the end, or to one that was not written whole.
func ReadHistory(r io.Reader) ([]Op, error) {
	buffered := bufio.NewReaderSize(r, 1<<20)
	record := make([]byte, binary.Size(Op{}))
	var ops []Op
	for {
		_, err := io.ReadFull(buffered, record)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return ops, nil
		}
		if err != nil {
			return nil, err
		}
		var op Op
		if _, err := binary.Decode(record, binary.LittleEndian, &op); err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
}

// gone is the version of a user that was deleted: no later one can follow.
const gone = math.MaxInt64

// Checked is what a check of a history found.
type Checked struct {
	Reads, NoCacheReads, Searches, Writes, Failed int
	Violations                                    []string // At most a few of each kind.
	Slowest                                       time.Duration
}

// kept is how many violations of one kind are told.
const kept = 5

func (c *Checked) violate(counts map[string]int, kind string, op Op, want int64) {
	counts[kind]++
	if counts[kind] <= kept {
		c.Violations = append(c.Violations, fmt.Sprintf("%s: server %d client %d kind %d user %d shows %d (found %v) at %d–%d, want at least %d",
			kind, op.Server, op.Client, op.Kind, op.User, op.Version, op.Found, op.Start, op.End, want))
	}
}

// Check checks the promises of the cache on a history: no read is older than
// staleness, than the version that it asked for, or than what its server showed or
// acknowledged before; and reads without the cache and searches are linearizable with
// writes.
func Check(ops []Op, staleness time.Duration) Checked {
	var c Checked
	byUser := make(map[uint32][]Op)
	for _, op := range withoutEnded(ops) {
		if op.Kind == Trusted || op.Kind == Untrusted || op.User == nobody && !op.Failed {
			continue
		}
		c.count(op)
		byUser[op.User] = append(byUser[op.User], op)
	}
	counts := make(map[string]int)
	for user, ops := range byUser {
		normalize(ops)
		c.checkUser(counts, ops, int64(staleness))
		if !linearizable(ops) {
			c.Violations = append(c.Violations, fmt.Sprintf("reads without the cache and searches of user %d are not linearizable", user))
		}
	}
	return c
}

// withoutEnded leaves out the beginnings of operations whose ends are there.
func withoutEnded(ops []Op) []Op {
	type begun struct {
		server, client uint16
		start          int64
	}
	ended := make(map[begun]bool)
	for _, op := range ops {
		if op.isWrite() && op.End != 0 {
			ended[begun{op.Server, op.Client, op.Start}] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ops), func(op Op) bool {
		return op.isWrite() && op.End == 0 && ended[begun{op.Server, op.Client, op.Start}]
	})
}

func (c *Checked) count(op Op) {
	switch {
	case op.End == 0:
	case op.Failed:
		c.Failed++
	case op.Kind == Get:
		c.Reads++
		c.Slowest = max(c.Slowest, time.Duration(op.End-op.Start))
	case op.Kind == NoCache:
		c.NoCacheReads++
	case op.Kind == ByName:
		c.Searches++
	default:
		c.Writes++
	}
}

// normalize gives reads of nobody a version: that of a deletion, where one has
// begun, else 0.
func normalize(ops []Op) {
	deleted := int64(math.MaxInt64)
	for i, op := range ops {
		if op.Kind == Delete {
			deleted = min(deleted, op.Start)
			ops[i].Version = gone
		}
	}
	for i, op := range ops {
		if (op.Kind == Get || op.Kind == NoCache) && !op.Found && !op.Failed {
			ops[i].Version = 0
			if deleted <= op.End {
				ops[i].Version = gone
			}
		}
	}
}

// known is a version and since when it was known.
type known struct{ at, version int64 }

// ladder is versions by time, each higher than the one before.
type ladder []known

// at returns the highest version that was known at a time.
func (l ladder) at(t int64) int64 {
	i := sort.Search(len(l), func(i int) bool { return l[i].at > t })
	if i == 0 {
		return 0
	}
	return l[i-1].version
}

// climb makes a ladder of what operations knew at their ends.
func climb(ops []Op, counts func(Op) bool) ladder {
	var l ladder
	for _, op := range ops {
		if counts(op) && op.told() {
			l = append(l, known{op.End, op.Version})
		}
	}
	slices.SortFunc(l, func(a, b known) int { return int(min(1, max(-1, a.at-b.at))) })
	out := l[:0]
	highest := int64(0)
	for _, k := range l {
		if k.version > highest {
			highest = k.version
			out = append(out, k)
		}
	}
	return slices.Clone(out)
}

func (c *Checked) checkUser(counts map[string]int, ops []Op, staleness int64) {
	written := climb(ops, Op.isWrite)
	seen := make(map[uint16]ladder)
	own := make(map[uint16]ladder)
	for _, op := range ops {
		if _, ok := seen[op.Server]; !ok {
			seen[op.Server] = climb(ops, func(o Op) bool { return o.Server == op.Server })
			own[op.Server] = climb(ops, func(o Op) bool { return o.Server == op.Server && o.isWrite() })
		}
	}
	for _, op := range ops {
		if op.Kind > ByName || !op.told() {
			continue
		}
		if op.Kind == ByName {
			c.checkName(counts, ops, op)
			if !op.Found {
				continue
			}
		}
		if want := written.at(op.Start - staleness); op.Version < want {
			c.violate(counts, "staleness", op, want)
		}
		if want := own[op.Server].at(op.Start); op.Version < want {
			c.violate(counts, "own write", op, want)
		} else if want := seen[op.Server].at(op.Start); op.Version < want {
			c.violate(counts, "back in time", op, want)
		}
		if op.Version < int64(op.MinVersion) {
			c.violate(counts, "min_version", op, int64(op.MinVersion))
		}
		if want := written.at(op.Start); op.Kind != Get && op.Version < want {
			c.violate(counts, "no-cache", op, want)
		}
	}
}

// checkName checks that a search shows the user at the version that has the name, and shows
// nobody only where the name may have changed before its end.
func (c *Checked) checkName(counts map[string]int, ops []Op, search Op) {
	named := int64(search.MinVersion)
	changed := slices.ContainsFunc(ops, func(op Op) bool {
		return op.isWrite() && op.Start <= search.End && (op.Version > named || !op.told())
	})
	switch {
	case search.Found && search.Version != named:
		c.violate(counts, "old name", search, named)
	case !search.Found && !changed:
		c.violate(counts, "not found by name", search, named)
	}
}

// register is a user as porcupine knows it: its state is a version.
var register = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		version, op := state.(int64), output.(Op)
		switch {
		case input.(Kind) == NoCache:
			return op.Version == version, version
		case input.(Kind) == ByName:
			return op.Found == (int64(op.MinVersion) == version), version
		case op.Version == gone:
			return version > 0 && version != gone, int64(gone)
		default:
			return op.Version == version+1, op.Version
		}
	},
	Equal: func(a, b any) bool { return a == b },
}

// porcupineTimeout bounds the search for an order of one user's operations. What
// is not decided then is no violation.
const porcupineTimeout = 20 * time.Second

// linearizable checks writes, no-cache reads and searches of one user. A write whose version
// nobody was told is left out where no other write or read shows that it happened.
func linearizable(ops []Op) bool {
	var operations []porcupine.Operation
	told := make(map[int64]bool)
	last := int64(0)
	for _, op := range ops {
		last = max(last, op.Start, op.End)
		if !op.told() || op.Kind == Get {
			continue
		}
		told[op.Version] = told[op.Version] || op.isWrite()
		operations = append(operations, porcupine.Operation{
			ClientId: len(operations), Input: op.Kind, Output: op, Call: op.Start, Return: op.End,
		})
	}
	return porcupine.CheckOperationsTimeout(register, append(operations, untold(ops, told, last)...), porcupineTimeout) != porcupine.Illegal
}

// untold returns the writes that must have happened though nobody was told: their
// versions lie below others'. Each began at some time of the history.
func untold(ops []Op, told map[int64]bool, end int64) []porcupine.Operation {
	highest, first := int64(0), end
	uncertain := slices.ContainsFunc(ops, func(op Op) bool { return op.isWrite() && !op.told() })
	for _, op := range ops {
		first = min(first, op.Start)
		if op.Version != gone && !op.Failed {
			highest = max(highest, op.Version)
		}
		if op.Kind == ByName && !op.Found && op.told() && uncertain {
			highest = max(highest, int64(op.MinVersion)+1) // Nobody has the name any longer.
		}
	}
	var out []porcupine.Operation
	for version := int64(1); version <= highest; version++ {
		if !told[version] {
			op := Op{Kind: Update, Version: version}
			out = append(out, porcupine.Operation{ClientId: math.MaxInt32, Input: Update, Output: op, Call: first, Return: end})
		}
	}
	for i := range out {
		out[i].ClientId -= i
	}
	return out
}

// Regained returns how long after a moment a server trusted its cache again, less
// what stalls excuse: 0 where it never stopped, and false where it did not up to
// another moment. A server tells its changes in order.
func Regained(ops []Op, stalls Stalls, server uint16, from, to int64) (time.Duration, bool) {
	last := Op{} // When it began to trust its cache.
	for _, op := range ops {
		switch {
		case op.Server != server || op.Start > to:
		case op.Kind == Trusted:
			last = op
		case op.Kind == Untrusted && op.Start < from:
			last = Op{}
		}
	}
	switch {
	case last.Kind != Trusted:
		return 0, false
	case last.Start < from:
		return 0, true
	}
	return max(0, time.Duration(last.Start-from)-stalls.excuse(server, from, last.Start)), true
}
