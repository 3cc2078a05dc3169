package admission

import (
	"context"
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
	begun  int       // Calls of all classes.
	short  time.Time // When the last call of a class came whose calls are short.
	queues []*queue  // Of the classes, in their order.
}

// queue is the calls of one class: those that have begun, and those that wait.
type queue struct {
	limits
	class    Class
	begun    int
	waiting  []*waiter     // The oldest first.
	streams  []*Stream     // That have places.
	standing time.Time     // Since when some have been waiting.
	ended    time.Time     // The last call; zero where none waited then.
	service  time.Duration // How long a call takes, of late.
	gap      time.Duration // Between the ends of two while others wait, of late.

	refused int64
	waits   Waits // Of those that were admitted.
}

// waiter is a call that waits.
type waiter struct {
	since    time.Time
	deadline time.Time // Zero for none.
	admitted bool      // It belongs to a stream that has a place, and is not refused.
	told     chan error
}

func newShare(size int, of map[Class]limits) *share {
	s := &share{size: size}
	for class := range classes {
		if limits, ok := of[class]; ok {
			s.queues = append(s.queues, &queue{limits: limits, class: class})
		}
	}
	return s
}

// begin returns when the call may begin, or with ErrOverloaded or the context's error if
// it may not. One that has begun must end. One that was admitted before waits in any case.
func (s *share) begin(ctx context.Context, q *queue, admitted bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := time.Now()
	s.mu.Lock()
	if q.class == Lookup || q.class == Write {
		s.short = now
	}
	if len(q.waiting) == 0 && s.hasRoom(q, now) {
		s.start(q, 0)
		s.mu.Unlock()
		return nil
	}
	w := &waiter{since: now, admitted: admitted, told: make(chan error, 1)}
	w.deadline, _ = ctx.Deadline()
	if !admitted && !q.takes(w) {
		q.refused++
		s.mu.Unlock()
		return store.ErrOverloaded
	}
	if len(q.waiting) == 0 {
		q.standing = w.since
	}
	q.waiting = append(q.waiting, w)
	s.mu.Unlock()
	return s.await(ctx, q, w)
}

// refuse reports whether a call that came now could neither begin nor wait, and counts it
// as refused if so.
func (s *share) refuse(q *queue) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(q.waiting) == 0 || q.takes(&waiter{since: time.Now()}) {
		return false
	}
	q.refused++
	return true
}

// await waits until a call is told that it may begin or is refused.
func (s *share) await(ctx context.Context, q *queue, w *waiter) error {
	select {
	case err := <-w.told:
		return err
	case <-ctx.Done():
		return s.leave(ctx, q, w)
	}
}

// leave takes a call whose context has ended out of its queue, unless it has been told by
// now what becomes of it.
func (s *share) leave(ctx context.Context, q *queue, w *waiter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(q.waiting, w)
	if at < 0 {
		return <-w.told
	}
	q.waiting = slices.Delete(q.waiting, at, at+1)
	return ctx.Err()
}

// hasRoom reports whether one more call of a class can begin. s.mu is held.
func (s *share) hasRoom(q *queue, now time.Time) bool {
	most := q.most
	if q.beside > 0 && now.Sub(s.short) < calm {
		most = q.beside
	}
	return q.begun < most && s.begun < s.size
}

// takes reports whether a call can wait, is not likely to wait for too long, and is likely to
// be answered before its deadline.
func (q *queue) takes(w *waiter) bool {
	q.cut(w.since)
	if q.crowd() >= q.room {
		return false
	}
	// Those that have begun may be done side by side, or one after the other where they need
	// the same processor.
	wait := time.Duration(len(q.waiting)+1) * max(q.service/time.Duration(max(q.begun, 1)), q.gap)
	if wait > q.target() && q.stands(w.since) {
		return false
	}
	return w.deadline.IsZero() || w.deadline.Sub(w.since) > wait+q.service
}

// crowd is how many calls wait that take room: those of streams have places.
func (q *queue) crowd() (calls int) {
	if q.places == 0 {
		return len(q.waiting)
	}
	for _, w := range q.waiting {
		if !w.admitted {
			calls++
		}
	}
	return calls
}

// target is how long a call may wait in a queue that stands.
func (q *queue) target() time.Duration { return max(target, 2*q.service) }

// stands reports whether calls have been waiting for so long that it is no burst. A queue
// that is no longer than what can be done at once is no sign of too many calls.
func (q *queue) stands(now time.Time) bool {
	return !q.patient && len(q.waiting) > q.most && now.Sub(q.standing) > interval
}

// end ends a call that began at a time, and lets others begin.
func (s *share) end(q *queue, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	q.cut(now)
	q.begun--
	s.begun--
	q.learn(began, now)
	for _, onlyFirst := range []bool{true, false} {
		for _, other := range s.queues {
			for len(other.waiting) > 0 && (other.begun < other.first || !onlyFirst) && s.hasRoom(other, now) {
				s.next(other, now)
			}
		}
	}
}

// learn takes the times of a call that ends now.
func (q *queue) learn(began, now time.Time) {
	q.service += (now.Sub(began) - q.service) / 8
	if !q.ended.IsZero() {
		q.gap += (now.Sub(q.ended) - q.gap) / 32 // They may end in groups.
	}
	if q.ended = now; len(q.waiting) == 0 {
		q.ended = time.Time{}
	}
}

// next lets the oldest call of a queue start, or refuses it if it could not be answered in
// time.
func (s *share) next(q *queue, now time.Time) {
	w := q.waiting[0]
	if !w.admitted && !w.deadline.IsZero() && w.deadline.Sub(now) < q.service {
		q.refuseOldest()
		return
	}
	q.waiting = q.waiting[1:]
	s.start(q, now.Sub(w.since))
	w.told <- nil
}

// cut refuses the calls that have waited too long, where the queue stands.
func (q *queue) cut(now time.Time) {
	for q.stands(now) && now.Sub(q.waiting[0].since) > q.target() {
		q.refuseOldest()
	}
}

func (q *queue) refuseOldest() {
	w := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.refused++
	w.told <- store.ErrOverloaded
}

func (s *share) start(q *queue, waited time.Duration) {
	s.begun++
	q.begun++
	q.waits.add(waited)
}
