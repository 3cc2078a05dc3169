// Package wait is where callers wait for changes, which each engine notices in its own way.
package wait

import "sync"

// Room is where callers wait until something has changed.
type Room struct {
	mu      sync.Mutex
	changed chan struct{} // Closed at the next change, and replaced if anybody waits for it.
	inside  int
	closed  bool
}

// NewRoom returns a room with nobody in it.
func NewRoom() *Room { return &Room{changed: make(chan struct{})} }

// Enter returns a channel that is closed at the next change, and after Close. Whoever enters
// must leave.
func (r *Room) Enter() (changed <-chan struct{}, leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside++
	return r.changed, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.inside--
	}
}

// Wake ends the waits that there are.
func (r *Room) Wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inside > 0 && !r.closed {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// Occupied reports whether anybody waits.
func (r *Room) Occupied() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inside > 0
}

// Close lets nobody wait any longer. It reports whether the room was open.
func (r *Room) Close() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.closed = true
	close(r.changed)
	return true
}
