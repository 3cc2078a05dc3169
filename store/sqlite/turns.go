package sqlite

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/example/userd/store/idle"
)

// turn is how long a read may keep a processor from others before it lets them go first. It
// notices between two statements.
const turn = time.Millisecond

// pace lets all others go first, at the beginning and after each turn.
type pace struct {
	idle  *idle.Gate // Nil where there is nobody else.
	began time.Time  // The turn; zero before the first.
}

func (p *pace) letOthers() error {
	if p.idle == nil || time.Since(p.began) < turn {
		return nil
	}
	err := p.idle.Await()
	p.began = time.Now()
	return err
}

// turns lets all others go first, after each turn, where there are more reads at a time than
// processors. They compute, and one of them could always go on. Goroutines whose sockets have
// brought something wait in the scheduler's global queue, from which it takes one in 61 turns as
// long as a processor has goroutines of its own: nothing new would be read, and so nothing
// refused, and reads that a cache answers would wait as well.
type turns struct {
	processors int32
	reads      atomic.Int32

	mu   sync.Mutex
	pace pace
}

// begin returns when a read may begin. It must end, even where there is an error.
func (t *turns) begin() error {
	if t.reads.Add(1) <= t.processors {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pace.letOthers()
}

func (t *turns) end() { t.reads.Add(-1) }
