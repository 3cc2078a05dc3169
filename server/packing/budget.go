package packing

import (
	"context"
	"io"
	"slices"
	"sync"

	"github.com/example/userd/server/failure"
)

// largeBytes is the size beyond which a message counts, in bytes. No valid one is larger,
// unless it is JSON with blanks without end.
const largeBytes = 128 << 10

// Budget bounds what a process holds of large messages that have come, or were unpacked,
// and are not handled yet: a few bytes unpack to megabytes. A call that is the only one may
// hold more. For what goes beyond it the caller that holds the most lets something go: the
// message that began to come first and has not come whole, since it is the slowest. Where
// that is the caller itself, or nothing of the kind is there, what comes is refused.
type Budget struct {
	most int

	mu      sync.Mutex
	held    int
	by      map[string]int // By caller.
	coming  []*Hold        // That hold something and have not come whole, the oldest first.
	refused int64
}

// Stats returns how many bytes are held, and how often more were refused so far.
func (b *Budget) Stats() (held int, refused int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held, b.refused
}

// NewBudget allows so many bytes.
func NewBudget(most int) *Budget { return &Budget{most: most, by: make(map[string]int)} }

// Hold is what one call holds of a Budget. Its methods are for one goroutine at a time.
type Hold struct {
	budget   *Budget
	caller   string
	cut      func()
	received int

	bytes int  // budget.mu guards it, and the following.
	whole bool // The request has come.
	gone  bool // It was let go.
}

type holdKey struct{}

// Begin returns a Hold for a call of a caller, and the context that the call is to have. cut
// ends a wait for the rest of the request, where it is let go: what comes or is unpacked
// then is refused. It must not call the Hold, and is not called after Release.
func (b *Budget) Begin(ctx context.Context, caller string, cut func()) (context.Context, *Hold) {
	h := &Hold{budget: b, caller: caller, cut: cut}
	return context.WithValue(ctx, holdKey{}, h), h
}

// Received counts what has come of a request. err is what the reader of it has been told.
func (h *Hold) Received(bytes int, err error) error {
	counted := max(h.received, largeBytes)
	if h.received += bytes; h.received <= counted && (err == nil || h.received <= largeBytes) {
		return nil
	}
	return h.take(max(h.received-counted, 0), err)
}

// take takes so many bytes. readErr is that of Received, or nil.
func (h *Hold) take(bytes int, readErr error) error {
	b := h.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if readErr != nil {
		h.whole = true
		b.forget(h)
	}
	for b.held > h.bytes && b.held+bytes > b.most && !h.gone {
		if !b.letGo(h.caller, b.by[h.caller]+bytes) {
			b.refused++
			return failure.ErrTooManyLargeMessages
		}
	}
	if h.gone {
		return failure.ErrTooManyLargeMessages
	}
	if h.bytes == 0 && bytes > 0 && !h.whole {
		b.coming = append(b.coming, h)
	}
	b.held += bytes
	b.by[h.caller] += bytes
	h.bytes += bytes
	return nil
}

// letGo lets go one message of the caller that holds the most, which is more than a caller
// would hold. b.mu is held.
func (b *Budget) letGo(caller string, would int) bool {
	var slowest *Hold
	for _, h := range b.coming {
		held := b.by[h.caller]
		if h.caller != caller && held > would && (slowest == nil || held > b.by[slowest.caller]) {
			slowest = h
		}
	}
	if slowest == nil {
		return false
	}
	slowest.gone = true
	b.release(slowest)
	b.refused++
	slowest.cut()
	return true
}

// Release gives everything back.
func (h *Hold) Release() {
	h.budget.mu.Lock()
	defer h.budget.mu.Unlock()
	h.budget.release(h)
}

// release gives back what a call holds. Of one that was let go the bytes are there until it
// looks, which is soon. b.mu is held.
func (b *Budget) release(h *Hold) {
	b.forget(h)
	b.held -= h.bytes
	if b.by[h.caller] -= h.bytes; b.by[h.caller] == 0 {
		delete(b.by, h.caller)
	}
	h.bytes = 0
}

// forget lets a call keep what it holds. b.mu is held.
func (b *Budget) forget(h *Hold) {
	if at := slices.Index(b.coming, h); at >= 0 {
		b.coming = slices.Delete(b.coming, at, at+1)
	}
}

// Take counts a message that is about to be decoded, until its call has ended.
func Take(ctx context.Context, bytes int) error {
	if bytes <= largeBytes {
		return nil
	}
	hold, ok := ctx.Value(holdKey{}).(*Hold)
	if !ok {
		return nil
	}
	return hold.take(bytes, io.EOF)
}
