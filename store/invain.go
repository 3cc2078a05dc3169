package store

import (
	"maps"
	"sync"
	"time"
)

// InVain is what searches have asked an index for and not found in time, of late. All pages of a
// search ask for the same, and each would take as long in vain.
type InVain[K comparable] struct {
	mu    sync.Mutex
	since map[K]time.Time
}

// AskAgain is how long an index is not asked again.
const AskAgain = time.Second

// Has reports whether the index is not to be asked for what now.
func (v *InVain[K]) Has(what K, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	since, ok := v.since[what]
	return ok && now.Sub(since) < AskAgain
}

// Add notes that the index was asked for what in vain.
func (v *InVain[K]) Add(what K, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.DeleteFunc(v.since, func(_ K, since time.Time) bool { return now.Sub(since) >= AskAgain })
	if v.since == nil {
		v.since = make(map[K]time.Time)
	}
	v.since[what] = now
}
