package postgres

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/example/userd/store"
)

// genSnapshot draws a snapshot of a world with 40 transactions.
func genSnapshot(t *rapid.T) snapshot {
	xmax := rapid.Uint64Range(1, 40).Draw(t, "xmax")
	s := snapshot{xmin: xmax, xmax: xmax}
	for id := uint64(1); id < xmax; id++ {
		if rapid.IntRange(0, 3).Draw(t, "running") == 0 {
			s.running = append(s.running, id)
		}
	}
	if len(s.running) > 0 {
		s.xmin = s.running[0]
	}
	return s
}

// visible lists the transactions that a snapshot sees.
func (s snapshot) visible() map[uint64]bool {
	ids := make(map[uint64]bool)
	for id := uint64(1); id < s.xmax; id++ {
		ids[id] = true
	}
	for _, id := range s.running {
		delete(ids, id)
	}
	return ids
}

func contains(all, some map[uint64]bool) bool {
	for id := range some {
		if !all[id] {
			return false
		}
	}
	return true
}

func TestSnapshotCoversWhatItSees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genSnapshot(t), genSnapshot(t)
		// What lies beyond the end of both is not known to be the same as unseen.
		got, want := a.covers(b), contains(a.visible(), b.visible())
		if got && !want || want && !got && b.xmax <= a.xmax {
			t.Fatalf("%s covers %s: %v, want %v", a, b, got, want)
		}
	})
}

func TestSnapshotUpToKeepsWhatIsBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, last := genSnapshot(t), rapid.Uint64Range(0, 45).Draw(t, "last")
		cut := s.upTo(last)
		for id := uint64(1); id < 50; id++ {
			if got, want := cut.visible()[id], s.visible()[id] && id <= last; got != want {
				t.Fatalf("%s up to %d is %s: sees %d: %v, want %v", s, last, cut, id, got, want)
			}
		}
		if parsed, ok := parseSnapshot(cut.String()); !ok || parsed.String() != cut.String() {
			t.Fatalf("%s is not read back", cut)
		}
	})
}

func TestCursorIsReadBack(t *testing.T) {
	s := &Store{identity: store.Identity{Incarnation: "01234567-89ab-4cde-8f01-23456789abcd"}}
	rapid.Check(t, func(t *rapid.T) {
		c := cursor{done: genSnapshot(t)}
		if rapid.Bool().Draw(t, "inside a page") {
			c.goal, c.seq = new(genSnapshot(t)), rapid.Int64Min(0).Draw(t, "seq")
			c.gone = rapid.Int64Min(0).Draw(t, "gone")
		}
		text := s.format(c)
		if parsed, ok := s.parse(text); !ok || s.format(parsed) != text {
			t.Fatalf("%s is not read back", text)
		}
	})
}

func TestForeignCursorsAreRefused(t *testing.T) {
	s := &Store{identity: store.Identity{Incarnation: "01234567-89ab-4cde-8f01-23456789abcd"}}
	for _, text := range []store.Cursor{
		"", "1", "p1", "p1.01234567", "p1.01234567.", "p1.01234567.1", "p1.01234567.1:", "p1.01234567.0:1:",
		"p1.01234567.2:1:", "p1.01234567.1:2:3", "p1.01234567.1:9:3,2", "p1.01234567.2:9:1", "p1.01234567.1:-2:",
		"p1.01234567.1:99999999999999999999:", "p1.89abcdef.1:1:", "p2.01234567.1:1:",
		"p1.01234567.1:1:.1:1:", "p1.01234567.1:1:.1:1:.1", "p1.01234567.1:1:.1:1:.-1.1",
		"p1.01234567.1:1:.1:1:.1.-1", "p1.01234567.1:1:.1:1:.x.1", "p1.01234567.1:1:.1:1:.1.x", "p1.01234567.1:1:.1:.1.1",
		"p1.01234567.1:1:.1:1:.1.1.1", store.Earliest,
	} {
		if _, ok := s.parse(text); ok {
			t.Errorf("%q is taken for a cursor", text)
		}
	}
}
