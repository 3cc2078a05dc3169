package admission

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/example/userd/store"
)

// share is something that a store has so many of, such as connections, and that some
// classes compete for.
type share struct {
	size int

	mu     sync.Mutex
	begun  int            // Calls of all classes.
	long   int            // Of these, of classes whose calls may be long.
	by     map[string]int // And of each caller.
	mix    mix
	short  time.Time // When the last call of a class came whose calls are short.
	queues []*queue  // Of the classes, in their order.
	line   []*queue  // The same: the one first that began a call the longest ago.
}

// queue is the calls of one class: those that have begun, and those that wait.
type queue struct {
	limits
	class   Class
	begun   int
	waiting int
	placed  int // Of these, calls of streams that have places.
	callers callers
	streams []*Stream     // That have places.
	calls   float64       // Of a stream in a hurry, of late.
	excess  int           // Calls that were too many, of late: see overflow.
	ended   time.Time     // The last call; zero where none waited then.
	service time.Duration // How long a call takes, of late.
	gap     time.Duration // Between the ends of two while others wait, of late.
	long    time.Time     // When it was last not kept short.

	yielded int64 // Calls that were refused for callers with fewer.
	waits   Waits // Of those that were admitted.
}

// waiter is a call that waits.
type waiter struct {
	since    time.Time // Those of a caller that have waited longer come first.
	came     time.Time // To the queue: how long it waits there counts for whether it is refused.
	deadline time.Time // Zero for none.
	admitted bool      // It belongs to a stream that has a place, and is not refused.
	told     chan error
}

// begun is a call that has begun.
type begun struct {
	queue  *queue
	caller *caller
	at     time.Time
}

func newShare(size int, of map[Class]limits) *share {
	s := &share{size: size, by: make(map[string]int)}
	for class := range classes {
		if limits, ok := of[class]; ok {
			s.queues = append(s.queues, &queue{limits: limits, class: class, calls: 1, callers: callers{known: make(map[string]*caller)}})
		}
	}
	s.line = slices.Clone(s.queues)
	return s
}

// begin returns when the call of a caller may begin, which has waited for it since a time, or
// with ErrOverloaded or the context's error if it may not. One that has begun must end. One
// that was admitted before waits in any case.
func (s *share) begin(ctx context.Context, q *queue, name string, since time.Time, admitted bool) (begun, error) {
	if err := ctx.Err(); err != nil {
		return begun{}, err
	}
	now := time.Now()
	s.mu.Lock()
	if q.class.hasShortCalls() {
		s.short = now
	}
	s.mix.come(name, now)
	c := q.callers.come(name, now)
	if len(c.waiting) == 0 && s.hasRoom(q, now) && s.may(q, c, now) {
		s.start(q, c, now.Sub(since))
		s.mu.Unlock()
		return begun{q, c, now}, nil
	}
	w := &waiter{since: since, came: now, admitted: admitted, told: make(chan error, 1)}
	w.deadline, _ = ctx.Deadline()
	if !admitted && !q.takes(w, c, now) {
		q.callers.leave(c)
		s.mu.Unlock()
		return begun{}, store.ErrOverloaded
	}
	q.add(w, c)
	s.mu.Unlock()
	if err := s.await(ctx, q, w, c); err != nil {
		return begun{}, err
	}
	return begun{q, c, time.Now()}, nil
}

// refuses reports whether a call that came now could neither begin nor wait.
func (s *share) refuses(q *queue, name string) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return q.waiting > 0 && !q.takes(&waiter{since: now}, q.callers.of(name), now)
}

// await waits until a call is told that it may begin or is refused.
func (s *share) await(ctx context.Context, q *queue, w *waiter, c *caller) error {
	select {
	case err := <-w.told:
		return err
	case <-ctx.Done():
		return s.leave(ctx, q, w, c)
	}
}

// leave takes a call whose context has ended out of its queue, unless it has been told by
// now what becomes of it.
func (s *share) leave(ctx context.Context, q *queue, w *waiter, c *caller) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(c.waiting, w)
	if at < 0 {
		return <-w.told
	}
	q.take(c, at)
	q.callers.leave(c)
	return ctx.Err()
}

// hasRoom reports whether one more call of a class can begin. While there are short ones,
// those that may be long leave them a place, where there are two. s.mu is held.
func (s *share) hasRoom(q *queue, now time.Time) bool {
	most, mostLong := q.most, s.size
	if now.Sub(s.short) < calm {
		mostLong = max(s.size-1, 1)
		if q.beside > 0 {
			most = q.beside
		}
	}
	return q.begun < most && s.begun < s.size && (s.long < mostLong || q.class.hasShortCalls())
}

// may reports whether a caller has few enough calls for one more.
func (s *share) may(q *queue, c *caller, now time.Time) bool {
	return c.begun < q.callers.mix.most(q.most, now) && s.by[c.name] < s.mix.most(s.size, now)
}

// add makes a call wait. Where there is no room for it, the last call of the caller with the
// most goes.
func (q *queue) add(w *waiter, c *caller) {
	if !w.admitted && q.crowd() >= q.room {
		heaviest := q.callers.heaviest()
		q.refuseAt(heaviest, len(heaviest.waiting)-1)
		q.overflow()
		q.yielded++
	}
	q.waiting++
	if w.admitted {
		q.placed++
	}
	q.callers.wait(w, c)
}

// yields reports whether a call of another caller may be refused for one of this. One that
// was admitted before may not.
func (q *queue) yields(to *caller) bool {
	heaviest := q.callers.heaviest()
	return heaviest.calls() > to.calls()+1 && !heaviest.waiting[len(heaviest.waiting)-1].admitted
}

// take takes a call out of the queue.
func (q *queue) take(c *caller, at int) *waiter {
	w := c.waiting[at]
	if q.waiting--; q.waiting == 0 {
		q.excess = 0
	}
	if w.admitted {
		q.placed--
	}
	q.callers.take(c, at)
	return w
}

// takes reports whether a call can wait, is not likely to wait for too long, and is likely to
// be answered before its deadline.
func (q *queue) takes(w *waiter, c *caller, now time.Time) bool {
	q.cut(now)
	wait := time.Duration(min(q.waiting, q.callers.ahead(w, c))+1) * q.gap
	switch {
	case q.crowd() >= q.room && !q.yields(c), wait > q.longest():
		q.overflow()
		return false
	case w.deadline.IsZero() || w.deadline.Sub(now) > wait+q.service:
		return true
	case wait > hurry:
		q.overflow()
	}
	return false
}

// crowd is how many calls wait that take room.
func (q *queue) crowd() int { return q.waiting - q.placed }

// overflow notes that a call was refused because there were too many. Where those are more
// than some of the calls that begin, calls come faster than they are served.
func (q *queue) overflow() { q.excess = min(q.excess+excessWeight, q.room) }

// isShort reports whether the queue is to be kept short.
func (q *queue) isShort() bool { return q.excess > q.room/2 }

// longest is how long a call may wait. It is short where calls come faster than they are
// served: a long queue would then be of no use. Else they come from callers who wait for their
// answers, so that the queue, however long it stands, does not grow. One that is no longer
// than what can be done at once is no sign of too many calls.
func (q *queue) longest() time.Duration {
	switch {
	case q.patient || q.waiting <= q.most:
		return math.MaxInt64
	case q.isShort():
		return max(target, 2*q.service)
	}
	return max(patience, 2*q.service)
}

// end ends a call, and lets others begin.
func (s *share) end(call begun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, q := time.Now(), call.queue
	q.cut(now)
	q.begun--
	s.begun--
	if !q.class.hasShortCalls() {
		s.long--
	}
	if s.by[call.caller.name]--; s.by[call.caller.name] == 0 {
		delete(s.by, call.caller.name)
	}
	q.callers.end(call.caller, now)
	q.learn(call.at, now)
	for s.beginNext(now) {
	}
}

// beginNext lets the next call start, or refuses it if it could not be answered in time. It
// returns false if there is none. Classes that have fewer than they come first with take
// turns: of few places there is not one for each of them.
func (s *share) beginNext(now time.Time) bool {
	for _, q := range s.line {
		if q.begun < q.first && s.hasRoom(q, now) && s.next(q, now) {
			return true
		}
	}
	for _, q := range s.queues {
		if s.hasRoom(q, now) && s.next(q, now) {
			return true
		}
	}
	return false
}

// learn takes the times of a call that ends now.
func (q *queue) learn(began, now time.Time) {
	q.service += (now.Sub(began) - q.service) / 8
	if !q.ended.IsZero() {
		gap := now.Sub(q.ended)
		if q.gap > 0 {
			gap = min(gap, mostAtOnce*q.gap) // Beyond that the store has halted, and goes on.
		}
		q.gap += (gap - q.gap) / 32 // They may end in groups.
	}
	if q.ended = now; q.waiting == 0 {
		q.ended = time.Time{}
	}
	q.gap = min(q.gap, q.service) // Else it would stay where a slow store has left it, if it is too long for all to wait.
}

// next lets a call of a queue start, or refuses it if it could not be answered in time. It
// returns false if there is none.
func (s *share) next(q *queue, now time.Time) bool {
	c := q.callers.next(func(c *caller) bool { return s.may(q, c, now) })
	if c == nil {
		return false
	}
	if w := c.waiting[0]; !w.deadline.IsZero() && w.deadline.Sub(now) < q.service {
		if now.Sub(w.came) > hurry {
			q.overflow()
		}
		q.refuseAt(c, 0)
		return true
	}
	w := q.take(c, 0)
	s.start(q, c, now.Sub(w.since))
	w.told <- nil
	return true
}

// cut refuses the calls that have waited too long, of the caller who has the most: others do
// not make the queue long. Now and then it lets the queue be long again.
func (q *queue) cut(now time.Time) {
	if !q.isShort() {
		q.long = now
	} else if now.Sub(q.long) > trial {
		q.excess = 0
	}
	for q.waiting > 0 {
		heaviest := q.callers.heaviest()
		if now.Sub(heaviest.waiting[0].came) <= q.longest() {
			return
		}
		q.refuseAt(heaviest, 0)
		q.overflow()
	}
}

// refuseAt refuses a call that waits. That of a stream is too late, or would not be refused.
func (q *queue) refuseAt(c *caller, at int) {
	w := q.take(c, at)
	q.callers.leave(c)
	if w.admitted {
		w.told <- context.DeadlineExceeded
		return
	}
	w.told <- store.ErrOverloaded
}

func (s *share) start(q *queue, c *caller, waited time.Duration) {
	s.begun++
	if !q.class.hasShortCalls() {
		s.long++
	}
	at := slices.Index(s.line, q)
	s.line = append(slices.Delete(s.line, at, at+1), q)
	q.begun++
	q.excess = max(q.excess-1, 0)
	s.by[c.name]++
	c.begun++
	q.waits.add(waited)
}
