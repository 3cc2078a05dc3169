package packing

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/example/userd/server/failure"
)

// largeBytes is the size beyond which a message counts, in bytes. No valid one is larger,
// unless it is JSON with blanks without end.
const largeBytes = 128 << 10

// unreadPatience is how long an answer may wait to be read where others have no room.
const unreadPatience = time.Second

// Budget bounds what a process holds of large messages that have come, or were unpacked,
// and are not handled yet: a few bytes unpack to megabytes. It bounds as well what it holds of
// answers that their callers do not read. A call that is the only one may hold more. For what
// goes beyond it the caller that holds the most lets something go: the message that began to
// come first and has not come whole, or the answer that waits, since it is the slowest. Where
// that is the caller itself, or nothing of the kind is there, the answer goes that has waited
// for longer than unreadPatience, whoever is to read it. Else what comes is refused.
type Budget struct {
	most int

	mu      sync.Mutex
	held    int
	by      map[string]int // By caller.
	slow    []*Hold        // That hold something and can be let go, the oldest first.
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
	unread   func() // Ends a wait for the caller to read an answer, in the place of cut.
	answer   *Hold  // That the call sends, or nil.

	bytes int       // budget.mu guards it, and the following.
	whole bool      // The request has come.
	gone  bool      // It was let go.
	since time.Time // When an answer began to wait; zero for what has come.
}

type holdKey struct{}

// Begin returns a Hold for a call of a caller, and the context that the call is to have. cut
// ends a wait for the rest of the request, where it is let go: what comes or is unpacked
// then is refused. unread ends the wait for the caller to read an answer, see TakeAnswer. They
// must not call the Hold, and are not called after Release.
func (b *Budget) Begin(ctx context.Context, caller string, cut, unread func()) (context.Context, *Hold) {
	h := &Hold{budget: b, caller: caller, cut: cut, unread: unread}
	return context.WithValue(ctx, holdKey{}, h), h
}

// Answer counts an answer of so many bytes to a caller until it is released. One that must be
// sent is, whether there is room or not: it tells of what was done.
func (b *Budget) Answer(caller string, bytes int, must bool) (*Hold, error) {
	h := &Hold{budget: b, caller: caller, whole: true}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !must {
		if err := h.makeRoom(bytes); err != nil {
			return nil, err
		}
	}
	h.add(bytes)
	return h, nil
}

// Await is told that an answer waits for its caller to read it, from now on. unread is that of
// Begin.
func (h *Hold) Await(unread func()) {
	b := h.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	h.cut, h.since = unread, time.Now()
	b.slow = append(b.slow, h)
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
	if err := h.makeRoom(bytes); err != nil {
		return err
	}
	if h.bytes == 0 && bytes > 0 && !h.whole {
		b.slow = append(b.slow, h)
	}
	h.add(bytes)
	return nil
}

// makeRoom lets go others until there is room for so many bytes more. budget.mu is held.
func (h *Hold) makeRoom(bytes int) error {
	b := h.budget
	for b.held > h.bytes && b.held+bytes > b.most && !h.gone {
		if !b.letGo(h.caller, b.by[h.caller]+bytes) {
			b.refused++
			return failure.ErrTooManyLargeMessages
		}
	}
	if h.gone {
		return failure.ErrTooManyLargeMessages
	}
	return nil
}

// add takes so many bytes. budget.mu is held.
func (h *Hold) add(bytes int) {
	b := h.budget
	b.held += bytes
	b.by[h.caller] += bytes
	h.bytes += bytes
}

// letGo lets go one message of the caller that holds the most, which is more than a caller
// would hold, or an answer that has waited for long. b.mu is held.
func (b *Budget) letGo(caller string, would int) bool {
	slowest := b.slowestOfOthers(caller, would)
	if slowest == nil {
		slowest = b.unread()
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

// slowestOfOthers is the slowest message of the other caller that holds the most, which is more
// than a caller would hold, or nil. There are few callers, of whom one may have thousands of
// messages. b.mu is held.
func (b *Budget) slowestOfOthers(caller string, would int) (slowest *Hold) {
	isHeavy := false
	for other, held := range b.by {
		isHeavy = isHeavy || other != caller && held > would
	}
	if !isHeavy {
		return nil
	}
	for _, h := range b.slow {
		held := b.by[h.caller]
		if h.caller != caller && held > would && (slowest == nil || held > b.by[slowest.caller]) {
			slowest = h
		}
	}
	return slowest
}

// unread is the answer that has waited the longest, where that is too long, or nil. b.mu is held.
func (b *Budget) unread() *Hold {
	at := slices.IndexFunc(b.slow, func(h *Hold) bool { return !h.since.IsZero() })
	if at < 0 || time.Since(b.slow[at].since) < unreadPatience {
		return nil
	}
	return b.slow[at]
}

// Release gives everything back. A nil Hold has nothing.
func (h *Hold) Release() {
	if h == nil {
		return
	}
	h.answer.Release()
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
	if at := slices.Index(b.slow, h); at >= 0 {
		b.slow = slices.Delete(b.slow, at, at+1)
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

// CountedPart is the size from which a part of an answer of many counts, with TakeAnswer, while its
// caller does not read it, in bytes.
const CountedPart = 16 << 10

// TakeAnswer counts an answer that a call is about to send, of so many bytes, until it is
// released or the call has ended; there is one at a time. It is nil for calls whose answers are
// counted elsewhere. An error is that there is no room for it.
func TakeAnswer(ctx context.Context, bytes func() int) (answer *Hold, err error) {
	hold, ok := ctx.Value(holdKey{}).(*Hold)
	if !ok {
		return nil, nil
	}
	if hold.answer, err = hold.budget.Answer(hold.caller, bytes(), false); err == nil {
		hold.answer.Await(hold.unread)
	}
	return hold.answer, err
}
