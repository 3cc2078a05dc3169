package h2

import (
	"sync"
	"sync/atomic"
)

// maxIdleWorkers is how many goroutines are kept for the next streams. Their stacks
// have grown to what handlers need, which is what makes them worth keeping.
const maxIdleWorkers = 256

// workers runs the work of streams.
type workers struct {
	next chan work // Unbuffered: a send finds an idle worker, or none.
	idle atomic.Int32
	all  sync.WaitGroup // Of workers, and of the goroutine that watches connections.
}

func (w *workers) run(next work) {
	select {
	case w.next <- next:
	default:
		w.all.Go(func() { w.loop(next) })
	}
}

func (w *workers) loop(next work) {
	for ok := true; ok; {
		next.run()
		if w.idle.Add(1) > maxIdleWorkers {
			w.idle.Add(-1)
			return
		}
		next, ok = <-w.next
		w.idle.Add(-1)
	}
}

// stop lets idle workers end. Nothing may be run any more.
func (w *workers) stop() { close(w.next) }
