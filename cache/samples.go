package cache

import (
	"sync"

	"github.com/example/userd/store"
)

// samplesKept bounds the samples to about X of them, twice over.
const samplesKept = 32

// samples are positions of the store's change log with the times before which
// they were taken.
type samples struct {
	covers func(cursor, other store.Cursor) bool

	mu   sync.Mutex
	ring [samplesKept]sample
	next int
}

type sample struct {
	at     int64 // Nanoseconds of the cache's clock; 0 for none.
	cursor store.Cursor
}

// add remembers that the store was at cursor at some time after at. One that was asked for
// before the last tells nothing new.
func (s *samples) add(at int64, cursor store.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at < s.ring[(s.next-1+samplesKept)%samplesKept].at {
		return
	}
	s.ring[s.next%samplesKept] = sample{at, cursor}
	s.next++
}

// contained returns the time of the newest sample, taken after since, that mark
// covers, or 0. A data set with this watermark has every change that was committed
// before that time.
func (s *samples) contained(mark store.Cursor, since int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range samplesKept {
		sample := s.ring[(s.next-1-i+2*samplesKept)%samplesKept]
		if sample.at == 0 || sample.at <= since {
			return 0
		}
		if s.covers(mark, sample.cursor) {
			return sample.at
		}
	}
	return 0
}

// newest returns the last sample.
func (s *samples) newest() sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring[(s.next-1+samplesKept)%samplesKept]
}
