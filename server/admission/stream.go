package admission

import (
	"context"
	"slices"
	"time"

	"github.com/example/userd/store"
)

// silence is how long a stream has had nothing to do when its place may go to another.
const silence = time.Second

// medianStep is how far the median of the calls of streams moves for each of them.
const medianStep = 1.125

// Stream is a stream of writes of many rows. It is refused when it begins, or never: what
// has been stored of it would have to be sent again. Streams take turns, a call each. One
// that is silent while others come loses its place, and may be refused when it goes on.
// One that has a deadline begins where it is likely to end before that.
type Stream struct {
	store  *Store
	caller string
	ticket
	deadline time.Time // Zero for none.
	working  int       // Calls under way. share.mu guards it, and what follows.
	ended    int       // Calls that have ended before the deadline, if there is one.
	active   time.Time // The end of the last one, or the beginning.
}

type (
	streamKey struct{}
	turnKey   struct{}
)

// Stream lets a stream in whose calls have the context that is returned. It must leave.
func (s *Store) Stream(ctx context.Context) (context.Context, *Stream, error) {
	t := s.queues[Bulk]
	stream := &Stream{store: s, caller: s.callerOf(ctx), ticket: t}
	stream.deadline, _ = ctx.Deadline()
	if !t.share.join(t.queue, stream) {
		return nil, nil, s.refusal(Bulk, store.ErrOverloaded)
	}
	return context.WithValue(ctx, streamKey{}, stream), stream, nil
}

// Do calls f when it is the stream's turn, which is for all writes with f's context.
func (s *Stream) Do(ctx context.Context, f func(context.Context) error) error {
	_, err := admit(ctx, s.store, Bulk, func() (struct{}, error) {
		return struct{}{}, f(context.WithValue(ctx, turnKey{}, true))
	})
	return err
}

// hasTurn reports whether a call is one of those that a stream has its turn for.
func hasTurn(ctx context.Context) bool { return ctx.Value(turnKey{}) != nil }

// streamOf is the stream that a call of a class belongs to, or nil.
func streamOf(ctx context.Context, class Class) *Stream {
	if class != Bulk {
		return nil
	}
	stream, _ := ctx.Value(streamKey{}).(*Stream)
	return stream
}

// Leave gives up the place of a stream. Leaving twice is fine.
func (s *Stream) Leave() {
	s.share.mu.Lock()
	defer s.share.mu.Unlock()
	s.queue.learnCalls(s, time.Now())
	s.queue.streams = slices.DeleteFunc(s.queue.streams, func(other *Stream) bool { return other == s })
}

// learnCalls follows the median of how many calls those streams have that are in a hurry. One
// that was cut off would have had more, unless it has had none: it was in too much of a hurry.
func (q *queue) learnCalls(stream *Stream, now time.Time) {
	switch calls := float64(stream.ended); {
	case calls == 0:
	case calls > q.calls || !now.Before(stream.deadline):
		q.calls *= medianStep
	case calls < q.calls:
		q.calls /= medianStep
	}
	stream.ended = 0 // It may leave again.
}

// endsInTime reports whether one more stream is likely to end before its deadline, where all
// that have places take turns.
func (q *queue) endsInTime(stream *Stream, now time.Time) bool {
	if stream.deadline.IsZero() || len(q.streams) == 0 {
		return true
	}
	turns := q.calls * float64(len(q.streams)+1)
	return turns*float64(q.gap) < float64(stream.deadline.Sub(now))
}

// join gives a stream a place, where its first call could begin or wait.
func (s *share) join(q *queue, stream *Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	w := &waiter{since: now, deadline: stream.deadline}
	if q.waiting > 0 && !q.takes(w, q.callers.of(stream.caller), now) || q.isHeavy(stream.caller) || !q.endsInTime(stream, now) {
		return false
	}
	return q.place(stream, now)
}

// isHeavy reports whether a caller has half of the places of streams: the others are for
// others. Calls of nobody known are of many callers.
func (q *queue) isHeavy(caller string) bool {
	held := 0
	for _, stream := range q.streams {
		if stream.caller == caller {
			held++
		}
	}
	return caller != "" && held >= q.places/2
}

// place gives a stream a place, if need be that of a silent one.
func (q *queue) place(stream *Stream, now time.Time) bool {
	if len(q.streams) >= q.places {
		at := slices.IndexFunc(q.streams, func(s *Stream) bool { return s.working == 0 && now.Sub(s.active) >= silence })
		if at < 0 {
			return false
		}
		q.streams = slices.Delete(q.streams, at, at+1)
	}
	stream.active = now
	q.streams = append(q.streams, stream)
	return true
}

// resume notes that a call of a stream comes, and reports whether the stream has a place, or
// gets one again.
func (s *Stream) resume() bool {
	s.share.mu.Lock()
	defer s.share.mu.Unlock()
	if !slices.Contains(s.queue.streams, s) && !s.queue.place(s, time.Now()) {
		return false
	}
	s.working++
	return true
}

// pause notes that a call has ended.
func (s *Stream) pause() {
	s.share.mu.Lock()
	defer s.share.mu.Unlock()
	s.working--
	s.active = time.Now()
	if s.active.Before(s.deadline) {
		s.ended++
	}
}
