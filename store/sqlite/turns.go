package sqlite

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/example/userd/store/idle"
)

// turns lets all others go first, after each turn, where there are more reads at a time than
// processors. They compute, and one of them could always go on. Goroutines whose sockets have
// brought something wait in the scheduler's global queue, from which it takes one in 61 turns as
// long as a processor has goroutines of its own: nothing new would be read, and so nothing
// refused, and reads that a cache answers would wait as well.
type turns struct {
	idle       *idle.Gate
	processors int32
	reads      atomic.Int32

	mu    sync.Mutex
	began time.Time
}

// begin returns when a read may begin. It must end, even where there is an error.
func (t *turns) begin() error {
	if t.reads.Add(1) <= t.processors {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.began) < turn {
		return nil
	}
	err := t.idle.Await()
	t.began = time.Now()
	return err
}

func (t *turns) end() { t.reads.Add(-1) }
