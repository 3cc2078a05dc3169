package cache

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/store"
)

func TestSlotsAreReadAsWritten(t *testing.T) {
	t.Parallel()
	for _, version := range []int64{0, 1, 42, 1e15} {
		s := newSlot(found, version, []byte("payload"))
		if got := parseSlot(s.raw); got.kind != found || got.version != version || string(got.payload()) != "payload" {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	for _, raw := range []string{"", "V", "X0000000000000001", "V-000000000000001", "V000000000000000"} {
		if got := parseSlot(raw); got.kind != corrupt {
			t.Errorf("%q: kind %q, want corrupt", raw, got.kind)
		}
	}
}

func FuzzParseSlot(f *testing.F) {
	f.Add("V0000000000000001payload")
	f.Fuzz(func(t *testing.T, raw string) {
		s := parseSlot(raw)
		if s.raw != raw || s.kind != corrupt && newSlot(s.kind, s.version, s.payload()).raw != raw {
			t.Errorf("%q: %+v", raw, s)
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, buckets := range []int{1, clusterBuckets} {
		s := newKeyspace("incarnation", buckets)
		for _, k := range []key{userKey("an-id"), emailKey("A@example.com"), externalIDKey("A@example.com")} {
			if got, ok := s.parse(s.name(k)); !ok || got != k {
				t.Errorf("%s: %v, %v, want %v", s.name(k), got, ok, k)
			}
		}
		for bucket := range buckets {
			if got, ok := s.markBucket(s.mark(bucket)); !ok || got != bucket {
				t.Errorf("%s: %d, %v, want %d", s.mark(bucket), got, ok, bucket)
			}
		}
		for _, name := range []string{"", "userd:1:other:{0}:u:id", s.mark(0), s.prefix + "99}:u:id", s.prefix + "0}:y:id"} {
			if k, ok := s.parse(name); ok {
				t.Errorf("%q is %v, want no key", name, k)
			}
		}
	}
	if emailKey("A@Example.com") != emailKey("a@example.com") || emailKey("é@example.com") == emailKey("É@example.com") {
		t.Error("emails differ by more than ASCII case")
	}
	if externalIDKey("A") == externalIDKey("a") || externalIDKey("a").name == emailKey("a").name {
		t.Error("external ids differ by less than a byte, or not from emails")
	}
}

func TestSieve(t *testing.T) {
	t.Parallel()
	s := newSieve(160)
	put := func(name string) {
		s.update(userKey(name), func(*held) *held { return &held{} })
	}
	for i := range 10_000 {
		put(fmt.Sprint(i))
	}
	if count := slotsOf(s); count > 160+sieveShards {
		t.Errorf("%d slots, want about 160", count)
	}
	put("wanted")
	for i := range 10_000 {
		if s.get(userKey("wanted")) == nil {
			t.Fatalf("what is read all the time was evicted after %d others", i)
		}
		put(fmt.Sprint(i))
	}
	s.update(userKey("wanted"), func(*held) *held { return nil })
	if s.get(userKey("wanted")) != nil {
		t.Error("still there after its removal")
	}
	s.clear()
	if count := slotsOf(s); count != 0 {
		t.Errorf("%d slots are still there", count)
	}
	for range 10_000 { // Any order of changes keeps the ring whole.
		name := fmt.Sprint(rand.IntN(500))
		switch rand.IntN(3) {
		case 0:
			s.update(userKey(name), func(*held) *held { return nil })
		case 1:
			s.get(userKey(name))
		default:
			put(name)
		}
	}
}

// slotsOf is how many slots hold something.
func slotsOf(s *sieve) int {
	count := 0
	for i := range s.shards {
		for _, node := range s.shards[i].nodes {
			if node.held != nil {
				count++
			}
		}
	}
	return count
}

// What was read, removed and put again outlives what nobody read.
func TestSieveKeepsThePlace(t *testing.T) {
	t.Parallel()
	s := newSieve(2 * sieveShards)
	put := func(name string) {
		s.update(userKey(name), func(*held) *held { return &held{} })
	}
	var names []string // Of one shard, which has room for two.
	for i := 0; len(names) < 3; i++ {
		if name := fmt.Sprint(i); s.shard(userKey(name)) == &s.shards[0] {
			names = append(names, name)
		}
	}
	put(names[0])
	s.get(userKey(names[0]))
	s.update(userKey(names[0]), func(*held) *held { return nil })
	for _, name := range names {
		put(name)
	}
	for i, want := range []bool{true, false, true} {
		if got := s.get(userKey(names[i])) != nil; got != want {
			t.Errorf("%d: there %v, want %v", i, got, want)
		}
	}
}

func TestFloorsLastForTwoTurns(t *testing.T) {
	t.Parallel()
	f, k := newFloors(), userKey("id")
	f.raise(k, 3)
	f.raise(k, 2)
	f.turn()
	if got := f.of(k).version; got != 3 {
		t.Errorf("after one turn: %d, want 3", got)
	}
	f.raise(k, 1)
	for turns, want := range []int64{3, 1, 0} {
		if got := f.of(k).version; got != want {
			t.Errorf("%d turns after a lower floor: %d, want %d", turns, got, want)
		}
		f.turn()
	}
}

// Whoever is gone is so for two turns, unless the store was asked later and had a user.
func TestFloorsOfTheGone(t *testing.T) {
	t.Parallel()
	f, k := newFloors(), userKey("id")
	expect := func(when string, found, missing bool) {
		t.Helper()
		if f.of(k).allows(true, 5) != found || f.of(k).allows(false, 5) != missing {
			t.Errorf("%s: %+v, want a user to be shown %v, and none %v", when, f.of(k), found, missing)
		}
	}
	expect("at first", true, true)
	f.missing(k, 10)
	expect("when it is gone", false, true)
	f.found(k, 5, 9)
	expect("found by who has asked before", false, true)
	f.turn()
	expect("after one turn", false, true)
	f.found(k, 5, 11)
	expect("found by who has asked later", true, true)
	f.found(k, 6, 12)
	expect("when there is a later version", false, false)
	f.missing(k, 20)
	f.turn()
	f.turn()
	expect("after two turns", true, true)
}

// Of a name the last is known for two turns of whom a store has said that it has it.
func TestFloorsOfNames(t *testing.T) {
	t.Parallel()
	f, k := newFloors(), emailKey("someone@example.com")
	expect := func(when string, ann, bob bool) {
		t.Helper()
		if f.mayOwn(k, "ann") != ann || f.mayOwn(k, "bob") != bob {
			t.Errorf("%s: want Ann to be shown %v, and Bob %v", when, ann, bob)
		}
	}
	expect("at first", true, true)
	f.owned(k, "ann", 10, 20)
	expect("when Ann has it", true, false)
	f.owned(k, "bob", 20, 30)
	expect("when Bob had it later", false, true)
	f.turn()
	f.owned(k, "ann", 29, 40)
	expect("when it was Ann at about that time", false, false)
	f.owned(k, "ann", 40, 50)
	expect("when it is Ann after that", true, false)
	f.owned(k, "bob", 41, 45)
	expect("when it was Bob in between", false, false)
	f.owned(k, "bob", 47, 55)
	expect("when it is Bob, or was Ann after that", false, false)
	f.owned(k, "ann", 56, 58)
	expect("when it is Ann after all", true, false)
	f.owned(k, "ann", 45, 60)
	expect("when it is still Ann", true, false)
	f.owned(k, "", 60, 70)
	expect("when nobody has it", false, false)
	f.turn()
	expect("after one turn", false, false)
	f.turn()
	expect("after two turns", true, true)
}

func TestSamples(t *testing.T) {
	t.Parallel()
	s := &samples{covers: (&fakeStore{}).Covers}
	if got := s.contained("5", 0); got != 0 {
		t.Errorf("without a sample: %d, want 0", got)
	}
	for i := range int64(100) {
		s.add(i+1, store.Cursor(fmt.Sprint(i)))
	}
	s.add(50, "49") // By a store that was slow to answer.
	for _, test := range []struct {
		mark        store.Cursor
		since, want int64
	}{
		{"99", 0, 100},
		{"98", 0, 99},
		{"98", 98, 99},
		{"98", 99, 0},
		{"10", 0, 0}, // Too long ago.
		{"", 0, 0},
		{"foreign", 0, 0},
	} {
		if got := s.contained(test.mark, test.since); got != test.want {
			t.Errorf("mark %q since %d: %d, want %d", test.mark, test.since, got, test.want)
		}
	}
}

// Trust ends X after the last sample that the watermark contains, by the clock.
func TestTrustEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bundle{store: newFakeStore()}
		u := b.user(t)
		c := b.open(t)
		for range 3 { // Store, then cache.
			look(t, c, u.ID, 1)
			synctest.Wait()
		}
		if s := c.Stats(); !s.Trusted || s.Staleness > beatEvery {
			t.Errorf("%+v, want no more than the time between two samples", s)
		}
		b.store.down.Store(true) // No samples any more.
		time.Sleep(defaultStaleness - time.Second)
		look(t, c, u.ID, 1)
		if s := c.Stats(); !s.Trusted || s.Staleness < defaultStaleness-time.Second || s.Staleness > defaultStaleness {
			t.Errorf("%+v, want about a second less than %v", s, defaultStaleness)
		}
		time.Sleep(time.Second + time.Millisecond)
		if s := c.Stats(); s.Trusted || s.Staleness != 0 {
			t.Errorf("%+v, want no trust", s)
		}
		if _, err := c.Lookup(t.Context(), u.ID, Read{}); err == nil {
			t.Error("shown without trust")
		}
		b.store.down.Store(false)
		time.Sleep(time.Second)
		if s := c.Stats(); !s.Trusted || s.Staleness > time.Second {
			t.Errorf("%+v, want trust again", s)
		}
		look(t, c, u.ID, 1)
		c.Close()
	})
}

// What the near cache has may be shown as long as it lasts, to whom it is new enough, and never
// after a newer one.
func TestWhatMayBeShown(t *testing.T) {
	t.Parallel()
	b := &bundle{store: newFakeStore()}
	c, u := b.behind(t), b.user(t)
	fresh := c.clock()
	version := func(v int64, lasts time.Duration) *held {
		u.Version = v
		data, err := c.config.Encode(u)
		if err != nil {
			t.Fatal(err)
		}
		return &held{slot: newSlot(found, v, data), expires: fresh + int64(lasts)}
	}
	for _, step := range []struct {
		what       string
		held       *held
		minVersion int64
		want       bool
	}{
		{"one that lasts no longer", version(1, 0), 0, false},
		{"one that lasts", version(1, time.Hour), 0, true},
		{"one that is too old for the caller", version(1, time.Hour), 2, false},
		{"a newer one", version(2, time.Hour), 2, true},
		{"the old one, after the newer", version(1, time.Hour), 0, false},
		{"the newer one again", version(2, time.Hour), 0, true},
	} {
		if _, ok := c.allowed(userKey(u.ID), step.held, fresh, step.minVersion); ok != step.want {
			t.Errorf("%s: may be shown %v, want %v", step.what, ok, step.want)
		}
	}
}

// Floors go when the backend contains what was committed before, or after a long time without.
func TestFloorsAge(t *testing.T) {
	t.Parallel()
	f, k := newFloors(), userKey("id")
	var now int64
	age := func(at, fresh int64) {
		now = at
		f.age(func() int64 { return now }, fresh, 100)
	}
	age(10, 0)
	f.raise(k, 3)
	for _, step := range []struct {
		at, fresh, floor, least int64
		when                    string
	}{
		{20, 9, 3, 0, "while the backend is behind the last turn"},
		{30, 10, 3, 10, "when it contains what was raised before that"},
		{40, 29, 3, 10, "while it is behind the next turn"},
		{50, 30, 0, 30, "when it contains what was raised since"},
	} {
		age(step.at, step.fresh)
		if floor, least := f.of(k).version, f.least.Load(); floor != step.floor || least != step.least {
			t.Errorf("%s: floor %d, and what is shown contains all before %d, want %d and %d", step.when, floor, least, step.floor, step.least)
		}
	}
	f.raise(k, 4)
	for _, step := range []struct{ at, floor int64 }{{149, 4}, {150, 4}, {249, 4}, {250, 0}} {
		age(step.at, 0)
		if floor, least := f.of(k).version, f.least.Load(); floor != step.floor || least != 30 {
			t.Errorf("at %d without a backend: floor %d, and what is shown contains all before %d, want %d and 30", step.at, floor, least, step.floor)
		}
	}
}
