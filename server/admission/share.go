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
	begun  int      // Calls of all classes.
	queues []*queue // Of the classes, in their order.
}

// queue is the calls of one class: those that have begun, and those that wait.
type queue struct {
	limits
	class    Class
	begun    int
	waiting  []*waiter     // The oldest first.
	standing time.Time     // Since when some have been waiting.
	service  time.Duration // How long a call takes, of late.

	admitted, refused int64
	waited            time.Duration // By those that were admitted.
}

// waiter is a call that waits.
type waiter struct {
	since    time.Time
	deadline time.Time // Zero for none.
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
// it may not. One that has begun must end.
func (s *share) begin(ctx context.Context, q *queue) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if len(q.waiting) == 0 && s.hasRoom(q) {
		s.start(q)
		s.mu.Unlock()
		return nil
	}
	w := &waiter{since: time.Now(), told: make(chan error, 1)}
	w.deadline, _ = ctx.Deadline()
	q.cut(w.since)
	if !q.takes(w) {
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
func (s *share) hasRoom(q *queue) bool { return q.begun < q.most && s.begun < s.size }

// takes reports whether a call can wait, and is likely to be answered before its deadline.
func (q *queue) takes(w *waiter) bool {
	if len(q.waiting) >= q.room {
		return false
	}
	wait := time.Duration(len(q.waiting)+1) * q.service / time.Duration(max(q.begun, 1))
	return w.deadline.IsZero() || time.Until(w.deadline) > wait+q.service
}

// end ends a call that began at a time, and lets others begin.
func (s *share) end(q *queue, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	q.cut(now)
	q.begun--
	s.begun--
	q.service += (now.Sub(began) - q.service) / 8
	for _, onlyFirst := range []bool{true, false} {
		for _, other := range s.queues {
			for len(other.waiting) > 0 && (other.begun < other.first || !onlyFirst) && s.hasRoom(other) {
				s.next(other, now)
			}
		}
	}
}

// next lets the oldest call of a queue start, or refuses it if it could not be answered in
// time.
func (s *share) next(q *queue, now time.Time) {
	w := q.waiting[0]
	if !w.deadline.IsZero() && w.deadline.Sub(now) < q.service {
		q.refuseOldest()
		return
	}
	q.waiting = q.waiting[1:]
	s.start(q)
	q.waited += now.Sub(w.since)
	w.told <- nil
}

// cut refuses the calls that have waited too long, where the queue has been standing. One
// that is no longer than what can be done at once is no sign of too many calls.
func (q *queue) cut(now time.Time) {
	for !q.patient && len(q.waiting) > q.most && now.Sub(q.standing) > interval && now.Sub(q.waiting[0].since) > target {
		q.refuseOldest()
	}
}

func (q *queue) refuseOldest() {
	w := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.refused++
	w.told <- store.ErrOverloaded
}

func (s *share) start(q *queue) {
	s.begun++
	q.begun++
	q.admitted++
}
