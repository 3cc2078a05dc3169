package cache

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The protocol as a model: one user, two servers with one reader and one writer
// each, one Redis primary and a replica that lags behind it. Every interleaving of
// their steps is visited, with evictions (which are also expired leases) at any
// time, writers that die after their commit, applies that are late or lost, one
// failover, and X passing at any time.
//
// A near cache, its trust and its floor never touch Redis, so what one server
// promises does not depend on the near cache of another: only the first server has
// one here, and stands for both.
//
// What must hold in every state is in check. A variant is the protocol with one
// idea left out.
type variant struct {
	fill      func(*world, int)   // What a reader does with what the store said.
	apply     func(*world, uint8) // What a writer does.
	relay     func(*world, uint8) // What the relay does.
	noLease   bool                // Readers read the store without a lease.
	oneToken  bool                // A token for a client, not for a flight.
	noRelay   bool                // Trust is a connection; nobody pays for a dead writer.
	split     bool                // The watermark moves in a second step.
	oneWriter bool
	noFloor   bool
	hasty     bool // A heartbeat lets all floors go.
	noTrust   bool
}

// What can lie in the slot of the user.
const (
	vacant uint8 = iota
	value        // of version n
	leased       // with token n
	fenced       // of version n, only in variants
)

type cell struct{ kind, n uint8 }

// data is what one Redis holds.
type data struct {
	slot cell
	mark uint8 // The watermark: changes up to this version are contained.
}

// peer is a server: its near cache, its trust and its promises.
type peer struct {
	near    uint8 // Version held, 0 for none.
	pushed  bool  // An invalidation of it is on its way.
	behind  bool  // Still connected to the primary that is gone.
	trusted bool
	sample  uint8 // The store's version when it was sampled last, 0 for never.
	floor   uint8
	shown   uint8 // Highest version returned or acknowledged.
	bound   uint8 // Version that the store had X ago.
}

// first is the server whose near cache is looked at.
const first = 0

// Where a reader and a writer are: idle before, and from there on.
const (
	idle    uint8 = 0
	granted uint8 = 1 // reader: may read the store
	holding uint8 = 2 // reader: has read it

	committed uint8 = 1 // writer: committed, nothing else
	acked     uint8 = 2 // writer: answered, where it is the first; its apply may still arrive
	gone      uint8 = 3 // writer: dead, or done
)

type reader struct{ phase, version, need uint8 }

type writer struct{ phase, version uint8 }

// world is one state; comparable, so that a map can remember it.
type world struct {
	store            uint8
	primary, replica data
	failed           bool
	relaying         uint8 // Split relay: version that is applied but not marked.
	peer             peer
	readers          [2]reader
	writers          [2]writer
	wrong            bool // A read broke a promise.
}

func (w *world) put(s cell) {
	if w.primary.slot == s {
		return
	}
	w.primary.slot = s
	if w.peer.near != 0 && !w.peer.behind {
		w.peer.pushed = true
	}
}

// returned checks a read of server i that began when need was shown.
func (w *world) returned(i int, version, need uint8) {
	if i != first {
		return
	}
	if version < need {
		w.wrong = true
	}
	w.peer.shown = max(w.peer.shown, version)
	w.peer.floor = max(w.peer.floor, version)
}

func fillOnLease(w *world, i int) {
	if w.primary.slot == (cell{leased, w.token(i, false)}) {
		w.put(cell{value, w.readers[i].version})
	}
}

func fillAlways(w *world, i int) { w.put(cell{value, w.readers[i].version}) }

func fillNewer(w *world, i int) {
	if s := w.primary.slot; s.kind == vacant || s.n <= w.readers[i].version {
		w.put(cell{value, w.readers[i].version})
	}
}

func fillAnyLease(w *world, i int) {
	if w.primary.slot.kind == leased {
		w.put(cell{value, w.readers[i].version})
	}
}

// token is the token of a flight. In the model a reader has one flight at a time.
func (w *world) token(i int, one bool) uint8 {
	if one {
		return 1
	}
	return uint8(i) + 1
}

func applyOlder(w *world, version uint8) {
	switch s := w.primary.slot; {
	case s.kind == leased:
		w.put(cell{})
	case s.kind == value && s.n < version:
		w.put(cell{value, version})
	}
}

// applyNone is apply by the relay, which has no user at hand.
func applyNone(w *world, version uint8) {
	if s := w.primary.slot; s.kind == leased || s.kind == value && s.n < version {
		w.put(cell{})
	}
}

func applyDelete(w *world, _ uint8) { w.put(cell{}) }

func applyInsert(w *world, version uint8) {
	if w.primary.slot.kind == vacant {
		w.put(cell{value, version})
		return
	}
	applyOlder(w, version)
}

func applyFence(w *world, version uint8) {
	if s := w.primary.slot; s.kind == vacant || s.n < version {
		w.put(cell{fenced, version})
	}
}

// action is a kind of step; its text has the number of a server, a version, or
// both.
type action string

// step is an action by server i about a version.
type step struct {
	action  action
	i       uint8
	version uint8
}

func (s step) String() string {
	return strings.NewReplacer("#", fmt.Sprint(s.i), "@", fmt.Sprint(s.version)).Replace(string(s.action))
}

// emit is called with each world that a step leads to.
type emit func(s step, next world)

func (v variant) steps(w world, out emit) {
	for i := range w.readers {
		v.readerSteps(w, i, out)
		v.writerSteps(w, i, out)
	}
	v.peerSteps(w, out)
	v.relaySteps(w, out)
	redisSteps(w, out)
}

func (v variant) readerSteps(w world, i int, out emit) {
	server := uint8(i)
	next := w
	r := &next.readers[i]
	switch r.phase {
	case idle:
		v.startRead(w, i, out)
	case granted:
		r.phase, r.version = holding, w.store
		out(step{"reader # reads @ from the store", server, w.store}, next)
	case holding:
		version, need := r.version, r.need
		v.fill(&next, i)
		next.returned(i, version, need)
		next.readers[i] = reader{}
		out(step{"reader # fills @", server, version}, next)
	}
}

// startRead reads Redis on the tracked connection, or takes the lease.
func (v variant) startRead(w world, i int, out emit) {
	if i == first && w.peer.behind {
		return
	}
	next := w
	r := &next.readers[i]
	if i == first {
		r.need = w.peer.shown
	}
	switch s := w.primary.slot; {
	case s.kind == value && i == first:
		next = w
		next.peer.near, next.peer.pushed = s.n, false
		out(step{"server # reads @ from Redis", uint8(i), s.n}, next)
	case s.kind == value:
	case v.noLease:
		r.phase = granted
		out(step{"reader # misses", uint8(i), 0}, next)
	case s.kind == vacant:
		next.primary.slot = cell{leased, w.token(i, v.oneToken)}
		r.phase = granted
		out(step{"reader # takes the lease", uint8(i), 0}, next)
	}
}

func (v variant) writerSteps(w world, i int, out emit) {
	server, version := uint8(i), w.writers[i].version
	next := w
	r := &next.writers[i]
	switch r.phase {
	case idle:
		next.store++
		r.phase, r.version = committed, next.store
		if i != first {
			r.phase = acked
		}
		out(step{"writer # commits @", server, next.store}, next)
	case committed:
		r.phase = acked
		next.returned(i, version, version)
		out(step{"writer # raises the floor to @ and answers, its apply is late", server, version}, next)
	case acked:
		next.writers[i] = writer{phase: gone}
		out(step{"writer # dies before its apply of @", server, version}, next)
		v.apply(&next, version)
		out(step{"writer # applies @", server, version}, next)
	}
}

func (v variant) peerSteps(w world, out emit) {
	p := w.peer
	next := w
	q := &next.peer
	if p.near != 0 && (p.trusted || v.noTrust) && (p.near >= p.floor || v.noFloor) {
		next.wrong = p.near < p.bound
		next.returned(first, p.near, p.shown)
		out(step{"server # shows @ from its near cache", first, p.near}, next)
	}
	if p.pushed {
		next = w
		q.near, q.pushed = 0, false
		out(step{"server # hears the invalidation", first, 0}, next)
	}
	if p.behind {
		next = w
		q.near, q.pushed, q.behind, q.trusted, q.sample = 0, false, false, false, 0
		out(step{"server # connects again", first, 0}, next)
	}
	if p.sample != w.store {
		next = w
		q.sample = w.store
		out(step{"server # samples the store at @", first, w.store}, next)
	}
	if !p.behind && p.sample != 0 && (v.noRelay || w.primary.mark >= p.sample) {
		next = w
		if q.pushed {
			q.near, q.pushed = 0, false
		}
		q.trusted = true
		out(step{"server # hears the heartbeat", first, 0}, next)
		if p.sample >= p.floor || v.hasty {
			q.floor = 0
			out(step{"server # forgets the floor, which the heartbeat covers", first, 0}, next)
		}
	}
	next = w
	q.floor, q.trusted, q.sample, q.bound = 0, false, 0, w.store
	out(step{"X passes on server #", first, 0}, next)
}

func (v variant) relaySteps(w world, out emit) {
	if v.noRelay || w.primary.mark >= w.store {
		return
	}
	change := w.primary.mark + 1
	next := w
	switch {
	case !v.split:
		v.relay(&next, change)
		next.primary.mark = change
		out(step{"the relay applies and marks @", 0, change}, next)
	case w.relaying == 0:
		v.relay(&next, change)
		next.relaying = change
		out(step{"the relay applies @", 0, change}, next)
	default:
		next.relaying = 0
		if w.primary.mark+1 == w.relaying {
			next.primary.mark = w.relaying
		}
		out(step{"the relay marks @", 0, w.relaying}, next)
	}
}

func redisSteps(w world, out emit) {
	if w.primary.slot.kind != vacant {
		next := w
		next.put(cell{})
		out(step{"Redis evicts", 0, 0}, next)
	}
	if w.failed {
		return
	}
	if w.replica != w.primary {
		next := w
		next.replica = w.primary
		out(step{"the replica catches up", 0, 0}, next)
	}
	next := w
	next.failed, next.primary, next.replica, next.peer.behind = true, w.replica, data{}, true
	out(step{"the replica is promoted", 0, 0}, next)
}

// check says what is wrong with a state, or "".
func check(w world) string {
	if w.wrong {
		return "a server shows a version older than X, or than one it has shown"
	}
	if s := w.primary.slot; s.kind == value && s.n < w.primary.mark {
		return "a value older than the watermark is in Redis"
	}
	return ""
}

// packed is a world in 51 bits: two for each number, one for each bool. Millions
// of them fit into memory.
type packed uint64

func pack(w world) packed {
	var p packed
	for _, n := range w.numbers() {
		p = p<<2 | packed(n)
	}
	for _, b := range [...]bool{w.failed, w.peer.pushed, w.peer.behind, w.peer.trusted, w.wrong} {
		p <<= 1
		if b {
			p |= 1
		}
	}
	return p
}

func (w world) numbers() [22]uint8 {
	p, q, s := w.primary, w.replica, w.peer
	a, b, x, y := w.readers[0], w.readers[1], w.writers[0], w.writers[1]
	return [...]uint8{
		w.store, p.slot.kind, p.slot.n, p.mark, q.slot.kind, q.slot.n, q.mark, w.relaying,
		s.near, s.sample, s.floor, s.shown, s.bound, a.phase, a.version, a.need, b.phase, b.version,
		x.phase, x.version, y.phase, y.version,
	}
}

func (p packed) unpack() world {
	flag := func() bool { b := p&1 == 1; p >>= 1; return b }
	number := func() uint8 { n := uint8(p & 3); p >>= 2; return n }
	var w world
	w.wrong, w.peer.trusted, w.peer.behind, w.peer.pushed, w.failed = flag(), flag(), flag(), flag(), flag()
	for _, x := range []*writer{&w.writers[1], &w.writers[0]} {
		x.version, x.phase = number(), number()
	}
	w.readers[1].version, w.readers[1].phase = number(), number()
	w.readers[0].need, w.readers[0].version, w.readers[0].phase = number(), number(), number()
	s := &w.peer
	s.bound, s.shown, s.floor, s.sample, s.near = number(), number(), number(), number(), number()
	w.relaying = number()
	for _, d := range []*data{&w.replica, &w.primary} {
		d.mark, d.slot.n, d.slot.kind = number(), number(), number()
	}
	w.store = number()
	return w
}

// worlds is a set of states; a Go map takes three times as long.
type worlds struct {
	table []packed // 0, which is no state, where there is none.
	size  int
}

func newWorlds() *worlds { return &worlds{table: make([]packed, 1<<16)} }

// add reports whether p is new.
func (s *worlds) add(p packed) bool {
	if 3*s.size > 2*len(s.table) {
		old := s.table
		s.table, s.size = make([]packed, 2*len(old)), 0
		for _, p := range old {
			if p != 0 {
				s.add(p)
			}
		}
	}
	mask := len(s.table) - 1
	at := int(p*0x9E3779B97F4A7C15>>20) & mask
	for s.table[at] != 0 {
		if s.table[at] == p {
			return false
		}
		at = (at + 1) & mask
	}
	s.table[at] = p
	s.size++
	return true
}

// explore visits every state and returns how many there are and, where one is
// wrong, the steps to the first.
func explore(v variant) (int, []string) {
	first := world{store: 1, primary: data{mark: 1}, replica: data{mark: 1}}
	if v.oneWriter {
		first.writers[1].phase = gone
	}
	start := pack(first)
	seen := newWorlds()
	seen.add(start)
	queue, from := []packed{start}, []int32{-1}
	for at := 0; at < len(queue); at++ {
		w := queue[at].unpack()
		if problem := check(w); problem != "" {
			return seen.size, append(v.trace(queue, from, at), problem)
		}
		v.steps(w, func(_ step, next world) {
			p := pack(next)
			if !seen.add(p) {
				return
			}
			queue, from = append(queue, p), append(from, int32(at))
		})
	}
	return seen.size, nil
}

// trace tells the steps from the start to the state at.
func (v variant) trace(queue []packed, from []int32, at int) []string {
	var steps []string
	for ; from[at] >= 0; at = int(from[at]) {
		found := false
		v.steps(queue[from[at]].unpack(), func(s step, next world) {
			if !found && pack(next) == queue[at] {
				steps, found = append(steps, s.String()), true
			}
		})
	}
	slices.Reverse(steps)
	return steps
}

func TestModel(t *testing.T) {
	t.Parallel()
	right := variant{fill: fillOnLease, apply: applyOlder, relay: applyNone}
	with := func(change func(*variant)) variant {
		weaker := right
		change(&weaker)
		return weaker
	}
	t.Run("the protocol holds", func(t *testing.T) {
		states, steps := explore(with(func(v *variant) { v.oneWriter = raceDetector }))
		t.Logf("%d states", states)
		if steps != nil {
			t.Errorf("broken by:\n%s", strings.Join(steps, "\n"))
		}
	})
	for name, weaker := range map[string]variant{
		"set after read and delete on write": with(func(v *variant) {
			v.noLease, v.fill, v.apply, v.relay = true, fillAlways, applyDelete, applyDelete
		}),
		"set if newer and delete on write": with(func(v *variant) {
			v.noLease, v.fill, v.apply, v.relay = true, fillNewer, applyDelete, applyDelete
		}),
		"a fence that can be evicted": with(func(v *variant) {
			v.noLease, v.fill, v.apply, v.relay = true, fillNewer, applyFence, applyFence
		}),
		"a token for a client": with(func(v *variant) {
			v.oneToken, v.fill = true, fillAnyLease
		}),
		"a writer inserts into an empty slot":       with(func(v *variant) { v.apply = applyInsert }),
		"no relay":                                  with(func(v *variant) { v.noRelay = true }),
		"the watermark moves after the relay works": with(func(v *variant) { v.split = true }),
		"no lease check":                            with(func(v *variant) { v.fill = fillAlways }),
		"no floor":                                  with(func(v *variant) { v.noFloor = true }),
		"no floor after a heartbeat":                with(func(v *variant) { v.hasty = true }),
		"no trust":                                  with(func(v *variant) { v.noTrust = true }),
	} {
		t.Run(name, func(t *testing.T) {
			states, steps := explore(weaker)
			if steps == nil {
				t.Fatalf("holds in all of %d states, should not", states)
			}
			t.Logf("broken after %d steps:\n%s", len(steps)-1, strings.Join(steps, "\n"))
		})
	}
}
