package admission

import (
	"cmp"
	"slices"
	"time"
)

// company is how long a caller who has called counts for the others.
const company = time.Second

// callers are those who have calls in a queue. Whoever has the fewest under way comes first,
// so that one with many calls waits for his own, and not others for him.
type callers struct {
	known   map[string]*caller // Who have calls that have begun or wait.
	waiting []*caller          // Who have calls that wait.
	mix     mix
}

// mix knows whether there are several callers.
type mix struct {
	some bool      // Whether anybody has come.
	last string    // Who came last.
	at   time.Time // When somebody else came than before.
}

func (m *mix) come(name string, now time.Time) {
	if m.last != name && m.some {
		m.at = now
	}
	m.last, m.some = name, true
}

// most is how many calls of one caller may be under way, of all: half where there are
// others, who else would wait until one of them ends.
func (m *mix) most(all int, now time.Time) int {
	if now.Sub(m.at) > company {
		return all
	}
	return max(1, all/2)
}

// caller is one of them.
type caller struct {
	name    string
	begun   int
	waiting []*waiter // The one that has waited the longest first.
	ended   time.Time // The last of his calls; zero if none has while he was known.
}

// come returns the caller of a name, who has a call.
func (c *callers) come(name string, now time.Time) *caller {
	c.mix.come(name, now)
	one := c.known[name]
	if one == nil {
		one = &caller{name: name}
		c.known[name] = one
	}
	return one
}

// of returns the caller of a name, who may have no call.
func (c *callers) of(name string) *caller {
	if one := c.known[name]; one != nil {
		return one
	}
	return &caller{name: name}
}

// leave forgets a caller who has no calls any more.
func (c *callers) leave(one *caller) {
	if one.begun == 0 && len(one.waiting) == 0 {
		delete(c.known, one.name)
	}
}

// wait makes a call of a caller wait.
func (c *callers) wait(w *waiter, one *caller) {
	if len(one.waiting) == 0 {
		c.waiting = append(c.waiting, one)
	}
	c.known[one.name] = one // If his last call was refused to make room for this one, he was forgotten.
	one.waiting = slices.Insert(one.waiting, one.place(w), w)
}

// place is where a call comes among those of its caller that wait.
func (c *caller) place(w *waiter) int {
	at := len(c.waiting)
	for at > 0 && c.waiting[at-1].since.After(w.since) {
		at--
	}
	return at
}

// take takes a call out of those that wait.
func (c *callers) take(one *caller, at int) {
	if one.waiting = slices.Delete(one.waiting, at, at+1); len(one.waiting) > 0 {
		return
	}
	i := slices.Index(c.waiting, one)
	c.waiting = slices.Delete(c.waiting, i, i+1)
}

// end ends a call of a caller.
func (c *callers) end(one *caller, now time.Time) {
	one.begun--
	one.ended = now
	c.leave(one)
}

// ahead is about how many calls begin before one more of a caller.
func (c *callers) ahead(w *waiter, one *caller) (calls int) {
	place := one.place(w)
	for _, other := range c.waiting {
		if other.begun <= one.begun {
			calls += place + 1
		}
	}
	return calls
}

// next is the caller whose call is to begin, of those who may, or nil.
func (c *callers) next(may func(*caller) bool) *caller {
	var next *caller
	for _, one := range c.waiting {
		if may(one) && (next == nil || one.before(next)) {
			next = one
		}
	}
	return next
}

// before reports whether a caller comes before another.
func (c *caller) before(other *caller) bool {
	if c.begun != other.begun {
		return c.begun < other.begun
	}
	return c.since().Before(other.since())
}

// since is since when a caller waits, as if he had called again only when his last call had
// ended. So one who always has another call that waits comes neither before nor behind those
// who have one call at a time, of whom nothing is known when they come again.
func (c *caller) since() time.Time {
	if first := c.waiting[0].since; first.After(c.ended) {
		return first
	}
	return c.ended
}

// calls is how many calls a caller has.
func (c *caller) calls() int { return c.begun + len(c.waiting) }

// heaviest is the caller with the most calls, of those who have some that wait, or of several
// the one whose first has waited the longest. There must be some.
func (c *callers) heaviest() *caller {
	return slices.MinFunc(c.waiting, func(a, b *caller) int {
		return cmp.Or(b.calls()-a.calls(), a.waiting[0].since.Compare(b.waiting[0].since))
	})
}
