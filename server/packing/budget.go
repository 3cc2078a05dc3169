package packing

import (
	"context"
	"sync"

	"github.com/example/userd/server/failure"
)

// largeBytes is the size beyond which a message counts, in bytes. No valid one is larger,
// unless it is JSON with blanks without end.
const largeBytes = 128 << 10

// Budget bounds what a process holds of large messages that have come, or were unpacked,
// and are not handled yet: a few bytes unpack to megabytes. What goes beyond it is refused
// at once with failure.ErrOverloaded. A call that is the only one may hold more.
type Budget struct {
	most int

	mu      sync.Mutex
	held    int
	refused int64
}

// Stats returns how many bytes are held, and how often more were refused so far.
func (b *Budget) Stats() (held int, refused int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held, b.refused
}

// NewBudget allows so many bytes.
func NewBudget(most int) *Budget { return &Budget{most: most} }

// Hold is what one call holds of a Budget. Its methods are for one goroutine at a time.
type Hold struct {
	budget   *Budget
	bytes    int
	received int
}

type holdKey struct{}

// Begin returns a Hold for a call, and the context that the call is to have.
func (b *Budget) Begin(ctx context.Context) (context.Context, *Hold) {
	h := &Hold{budget: b}
	return context.WithValue(ctx, holdKey{}, h), h
}

// Received counts what has come of a request.
func (h *Hold) Received(bytes int) error {
	counted := max(h.received, largeBytes)
	if h.received += bytes; h.received <= counted {
		return nil
	}
	return h.take(h.received - counted)
}

func (h *Hold) take(bytes int) error {
	b := h.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if others := b.held - h.bytes; others > 0 && b.held+bytes > b.most {
		b.refused++
		return failure.ErrOverloaded
	}
	b.held += bytes
	h.bytes += bytes
	return nil
}

// Release gives everything back.
func (h *Hold) Release() {
	h.budget.mu.Lock()
	defer h.budget.mu.Unlock()
	h.budget.held -= h.bytes
	h.bytes = 0
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
	return hold.take(bytes)
}
