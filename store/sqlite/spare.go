package sqlite

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// spareTime is how long the spare processor stays at least after it was last of use.
const spareTime = time.Second

// spare is one more of what Go's scheduler calls a processor, while stores of this process are
// at work. Whoever computes in SQLite, or waits in a system call for the disk, keeps one: the
// scheduler takes it back some time later, and with none left it looks every 10 ms only for what
// sockets have brought. With one more the operating system shares out what there is, and lets
// those go first who have waited. There is no more than one, since those who compute should not
// have them all (see turns), and it goes when there is no work: what a cache answers takes less
// time without.
type spare struct {
	stay time.Duration
	used atomic.Bool // Of late.
	here atomic.Bool // Or about to come.

	mu      sync.Mutex // Held while it comes or goes.
	without int        // How many processors there are without it; 0 while it is not here.
}

// spareProcessor is that of this process.
var spareProcessor = spare{stay: spareTime}

// use has the spare processor come, or stay. A nil one never comes.
func (s *spare) use() {
	if s == nil {
		return
	}
	if !s.used.Load() {
		s.used.Store(true)
	}
	if s.here.CompareAndSwap(false, true) {
		go s.come() // Which may have to wait for the garbage collector.
	}
}

func (s *spare) come() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.without = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(s.without + 1)
	time.AfterFunc(s.stay, s.goUnlessUsed)
}

// goUnlessUsed takes the spare processor away if it has not been used since this was last called.
// Whoever has set another number of processors meanwhile keeps that.
func (s *spare) goUnlessUsed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used.Swap(false) {
		time.AfterFunc(s.stay, s.goUnlessUsed)
		return
	}
	if runtime.GOMAXPROCS(0) == s.without+1 {
		runtime.SetDefaultGOMAXPROCS() // Which follows the limit of a container.
	}
	s.without = 0
	s.here.Store(false)
}

// processors is how many processors there are, the spare one left out.
func (s *spare) processors() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.without > 0 {
		return s.without
	}
	return runtime.GOMAXPROCS(0)
}
