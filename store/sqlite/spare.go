package sqlite

import (
	"runtime"
	"sync"
	"time"
)

// spare is one more of what Go's scheduler calls a processor, while stores of this process are
// much at work. Whoever computes in SQLite, or waits in a system call for the disk, keeps one:
// the scheduler takes it back some time later, and with none left it looks every 10 ms only for
// what sockets have brought. With one more the operating system shares out what there is, and
// lets those go first who have waited. There is no more than one, since those who compute should
// not have them all (see turns), and it goes when there is little work: what a cache answers
// takes a sixth less time without.
type spare struct {
	period time.Duration

	mu      sync.Mutex
	began   time.Time     // A period.
	work    time.Duration // In it, of all stores.
	here    bool          // Or about to come.
	without int           // How many processors there are without it; 0 while it is not here.
}

// One part in spareShare of a period is much.
const spareShare = 10

// spareProcessor is that of this process.
var spareProcessor = spare{period: time.Second}

// worked notes that a store has worked since a time. There may be no spare processor.
func (s *spare) worked(since time.Time) {
	if s == nil {
		return
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.here && now.Sub(s.began) > s.period {
		s.began, s.work = now, 0
	}
	s.work += now.Sub(since)
	if !s.here && s.isMuch() {
		s.here = true
		go s.come() // Which may have to wait for the garbage collector.
	}
}

func (s *spare) isMuch() bool { return s.work > s.period/spareShare }

func (s *spare) come() {
	s.mu.Lock()
	s.without, s.work = runtime.GOMAXPROCS(0), 0
	processors := s.without + 1
	s.mu.Unlock()
	runtime.GOMAXPROCS(processors)
	time.AfterFunc(s.period, s.stayOrGo)
}

// stayOrGo begins another period after one with much work, or else takes the spare processor away.
// Whoever has set another number of processors meanwhile keeps that.
func (s *spare) stayOrGo() {
	s.mu.Lock()
	stays, without := s.isMuch(), s.without
	s.work = 0
	s.mu.Unlock()
	if stays {
		time.AfterFunc(s.period, s.stayOrGo)
		return
	}
	if runtime.GOMAXPROCS(0) == without+1 {
		runtime.SetDefaultGOMAXPROCS() // Which follows the limit of a container.
	}
	s.mu.Lock()
	s.here, s.without, s.began = false, 0, time.Time{}
	s.mu.Unlock()
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
