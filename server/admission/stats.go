package admission

import (
	"sync"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

// quiet is how long nothing was refused when refusing has ended.
const quiet = 5 * time.Second

// refusals are those of a class.
type refusals struct {
	mu    sync.Mutex
	all   int64
	count int64 // Since it began to refuse; 0 while none are refused.
	last  time.Time
}

// total is how many there were so far.
func (r *refusals) total() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

// Stats is what became of the calls of one class, and how many there are.
type Stats struct {
	Class   Class
	Begun   int // Under way in the store.
	Waiting int
	Refused int64 // So far.
	Yielded int64 // Of these, for callers with fewer calls.
	Waits   Waits // Of those that were admitted, so far.
}

// WaitBounds are the waits that Waits tells apart.
var WaitBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
}

// Waits says how long calls have waited, for the turn of a write too.
type Waits struct {
	Calls  int64
	Total  time.Duration
	Within [len(WaitBounds)]int64 // Calls that waited no longer than a bound.
}

func (w *Waits) add(wait time.Duration) {
	w.Calls++
	w.Total += wait
	for i, bound := range WaitBounds {
		if wait <= bound {
			w.Within[i]++
		}
	}
}

// Stats returns those of each class.
func (s *Store) Stats() []Stats {
	all := make([]Stats, 0, classes)
	for class, t := range s.queues {
		t.share.mu.Lock()
		q := t.queue
		all = append(all, Stats{Class(class), q.begun, q.waiting, s.refused[class].total(), q.yielded, q.waits})
		t.share.mu.Unlock()
	}
	return all
}

// refusal returns err. If it refuses a call of a class it is counted, and if it is the first
// for a while that does, it tells the log, and later that it was the last.
func (s *Store) refusal(class Class, err error) error {
	if err != store.ErrOverloaded {
		return err
	}
	r := &s.refused[class]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	r.all++
	if r.count++; r.count == 1 {
		s.log.Warn("calls are refused: there are more than the store can do", "class", class.String())
		guard.Timer(quiet, func() { s.lookForEnd(class) })
	}
	return err
}

func (s *Store) lookForEnd(class Class) {
	r := &s.refused[class]
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := quiet - time.Since(r.last); left > 0 {
		guard.Timer(left, func() { s.lookForEnd(class) })
		return
	}
	s.log.Info("calls are not refused any more", "class", class.String(), "refused", r.count)
	r.count = 0
}
