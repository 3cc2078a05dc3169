package postgres

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/example/userd/store"
)

// cursor is a position in the change log. Rows have been read that are visible in
// the snapshot done and, inside a page, those visible in the snapshot goal whose
// seq is at most seq.
//
// Its form is p1.INCARNATION.DONE or p1.INCARNATION.DONE.GOAL.SEQ.GONE, with the first
// eight digits of the store's incarnation and snapshots as PostgreSQL writes them.
type cursor struct {
	done snapshot
	goal *snapshot // Nil between pages.
	seq  int64
	gone int64 // Rows that had been pruned when goal was the present.
}

const cursorTag = "p1"

// earliest is where store.Earliest starts: nothing has been read.
var earliest = snapshot{xmin: 1, xmax: 1}

func (s *Store) format(c cursor) store.Cursor {
	parts := []string{cursorTag, s.identity.Incarnation[:8], c.done.String()}
	if c.goal != nil {
		parts = append(parts, c.goal.String(), strconv.FormatInt(c.seq, 10), strconv.FormatInt(c.gone, 10))
	}
	return store.Cursor(strings.Join(parts, "."))
}

// parse reads a cursor that this store made, or returns false.
func (s *Store) parse(text store.Cursor) (c cursor, ok bool) {
	parts := strings.Split(string(text), ".")
	if len(parts) != 3 && len(parts) != 6 || parts[0] != cursorTag || parts[1] != s.identity.Incarnation[:8] {
		return cursor{}, false
	}
	if c.done, ok = parseSnapshot(parts[2]); !ok || len(parts) == 3 {
		return c, ok
	}
	goal, ok := parseSnapshot(parts[3])
	seq, seqErr := strconv.ParseInt(parts[4], 10, 64)
	gone, goneErr := strconv.ParseInt(parts[5], 10, 64)
	c.goal, c.seq, c.gone = &goal, seq, gone
	return c, ok && seqErr == nil && goneErr == nil && seq >= 0 && gone >= 0
}

// covers reports whether all that other has read, c has read too. It may return
// false for cursors inside pages of different goals.
func (c cursor) covers(other cursor) bool {
	if other.goal == nil {
		return c.done.covers(other.done)
	}
	if c.done.covers(*other.goal) {
		return true
	}
	return c.goal != nil && c.done.covers(other.done) && c.goal.covers(*other.goal) && c.seq >= other.seq
}

// snapshot says which transactions' changes are visible: those below xmax that are
// not running.
type snapshot struct {
	xmin, xmax uint64
	running    []uint64 // Ascending; from xmin to below xmax.
}

// parseSnapshot reads a pg_snapshot.
func parseSnapshot(text string) (s snapshot, ok bool) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return snapshot{}, false
	}
	ends, ok := parseIDs(parts[:2])
	if !ok || ends[0] == 0 || ends[0] > ends[1] {
		return snapshot{}, false
	}
	s.xmin, s.xmax = ends[0], ends[1]
	if parts[2] == "" {
		return s, true
	}
	if s.running, ok = parseIDs(strings.Split(parts[2], ",")); !ok {
		return snapshot{}, false
	}
	last := len(s.running) - 1
	return s, slices.IsSorted(s.running) && s.running[0] >= s.xmin && s.running[last] < s.xmax
}

func parseIDs(texts []string) ([]uint64, bool) {
	ids := make([]uint64, len(texts))
	for i, text := range texts {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil || id > math.MaxInt64 {
			return nil, false
		}
		ids[i] = id
	}
	return ids, true
}

func (s snapshot) String() string {
	text := strconv.AppendUint(nil, s.xmin, 10)
	text = append(text, ':')
	text = strconv.AppendUint(text, s.xmax, 10)
	text = append(text, ':')
	for i, id := range s.running {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendUint(text, id, 10)
	}
	return string(text)
}

// covers reports whether all transactions visible in other are visible in s.
func (s snapshot) covers(other snapshot) bool {
	if other.xmax > s.xmax {
		return false
	}
	for _, id := range s.running {
		if _, found := slices.BinarySearch(other.running, id); id < other.xmax && !found {
			return false
		}
	}
	return true
}

// upTo returns s without the transactions above last, which must not have written
// anything that is visible in s.
//
// A crash forgets transactions that were never flushed, and their ids are given
// out again. A cursor that counts such an id as read would lose the change of its
// second owner, so cursors end at the last transaction that is known to be
// flushed: one whose change was visible.
func (s snapshot) upTo(last uint64) snapshot {
	if s.xmax <= last+1 {
		return s
	}
	end, _ := slices.BinarySearch(s.running, last+1)
	cut := snapshot{xmin: last + 1, xmax: last + 1, running: s.running[:end]}
	if end > 0 {
		cut.xmin = s.running[0]
	}
	return cut
}
