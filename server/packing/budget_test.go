package packing

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/server/failure"
)

// Small messages do not count; large ones do until they are released, and one at a time is
// taken however large it is.
func TestBudget(t *testing.T) {
	t.Parallel()
	budget := NewBudget(4 * largeBytes)
	begin := func() *Hold {
		_, hold := budget.Begin(t.Context(), "ada", nil, nil)
		return hold
	}
	small, first, second, third := begin(), begin(), begin(), begin()
	for _, part := range []int{1, largeBytes - 1} {
		if err := small.Received(part, nil); err != nil {
			t.Fatal(err)
		}
	}
	if budget.held != 0 {
		t.Errorf("a small message counts %d bytes", budget.held)
	}
	for range 10 {
		if err := first.Received(largeBytes, nil); err != nil {
			t.Fatalf("the only large message is refused: %v", err)
		}
	}
	if err := second.Received(largeBytes+1, nil); !errors.Is(err, failure.ErrTooManyLargeMessages) {
		t.Errorf("error is %v, want that the budget is used up", err)
	}
	if held, refused := budget.Stats(); held != 9*largeBytes || refused != 1 {
		t.Errorf("%d bytes are held, %d refused", held, refused)
	}
	first.Release()
	first.Release()
	if err := third.Received(2*largeBytes, nil); err != nil || budget.held != largeBytes {
		t.Errorf("error is %v after the first is gone, %d bytes are held", err, budget.held)
	}
}

// What is about to be decoded counts for its call.
func TestDecodingCounts(t *testing.T) {
	t.Parallel()
	budget := NewBudget(largeBytes)
	ctx, hold := budget.Begin(t.Context(), "ada", nil, nil)
	if err := Take(ctx, largeBytes); err != nil || budget.held != 0 {
		t.Errorf("a small message: error %v, %d bytes are held", err, budget.held)
	}
	if err := Take(ctx, largeBytes+1); err != nil || budget.held != largeBytes+1 {
		t.Errorf("a large message: error %v, %d bytes are held", err, budget.held)
	}
	hold.Release()
	if err := Take(t.Context(), 10*largeBytes); err != nil || budget.held != 0 {
		t.Errorf("without a hold: error %v, %d bytes are held", err, budget.held)
	}
}

// caller is one that has large messages come.
type caller struct {
	t      *testing.T
	budget *Budget
	name   string
}

// send has bytes of a message come. cut counts that it is let go.
func (c caller) send(bytes int, cut *int) *Hold {
	c.t.Helper()
	_, hold := c.budget.Begin(c.t.Context(), c.name, func() { *cut++ }, nil)
	if err := hold.Received(largeBytes+bytes, nil); err != nil {
		c.t.Errorf("%s, %d bytes: %v", c.name, bytes, err)
	}
	return hold
}

// Whoever holds the most lets its slowest message go, so that one caller leaves room for the
// others, and has a share of its own.
func TestTheLargestCallerLetsGo(t *testing.T) {
	t.Parallel()
	budget := NewBudget(100)
	var cut [4]int
	greedy, other := caller{t, budget, "greedy"}, caller{t, budget, "other"}
	whole := greedy.send(10, &cut[0])
	if err := whole.Received(0, io.EOF); err != nil {
		t.Fatal(err)
	}
	slowest, slow, last := greedy.send(30, &cut[1]), greedy.send(30, &cut[2]), greedy.send(30, &cut[3])
	mine := other.send(40, new(int))
	if cut != [4]int{0, 1, 1, 0} || budget.held != 80 {
		t.Errorf("let go are %v, %d bytes are held", cut, budget.held)
	}
	for _, hold := range []*Hold{slowest, slow} {
		if err := hold.Received(1, nil); !errors.Is(err, failure.ErrTooManyLargeMessages) {
			t.Errorf("what comes of one that was let go: %v", err)
		}
		if err := hold.Received(0, os.ErrDeadlineExceeded); !errors.Is(err, failure.ErrTooManyLargeMessages) {
			t.Errorf("the end of the wait for the rest: %v", err)
		}
	}
	// Now both hold 40, and neither has a right to more.
	if err := mine.Received(30, nil); !errors.Is(err, failure.ErrTooManyLargeMessages) {
		t.Errorf("the one that would hold more: %v", err)
	}
	if err := last.Received(1, nil); err != nil || cut != [4]int{0, 1, 1, 0} {
		t.Errorf("the one that stays: %v, let go are %v", err, cut)
	}
	for _, hold := range []*Hold{whole, slowest, slow, last, mine} {
		hold.Release()
	}
	if budget.held != 0 || len(budget.by) != 0 || len(budget.slow) != 0 {
		t.Errorf("in the end %d bytes are held, by %v, %d coming", budget.held, budget.by, len(budget.slow))
	}
}

// answer counts an answer that waits. cut counts that it is let go.
func (c caller) answer(bytes int, cut *int) (*Hold, error) {
	c.t.Helper()
	hold, err := c.budget.Answer(c.name, bytes, false)
	if err == nil {
		hold.Await(func() { *cut++ })
	}
	return hold, err
}

// Answers that wait to be read make room for those of others, and after a while for any.
func TestUnreadAnswersMakeRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(100)
		var cut [3]int
		greedy, other := caller{t, budget, "greedy"}, caller{t, budget, "other"}
		var holds []*Hold
		must := func(hold *Hold, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			holds = append(holds, hold)
		}
		must(greedy.answer(60, &cut[0]))
		must(greedy.answer(40, &cut[1]))
		if _, err := greedy.answer(10, new(int)); !errors.Is(err, failure.ErrTooManyLargeMessages) {
			t.Errorf("one more of the same caller: %v", err)
		}
		must(other.answer(50, &cut[2]))
		if cut != [3]int{1, 0, 0} {
			t.Errorf("for another caller %v are let go", cut)
		}
		must(budget.Answer("greedy", 80, true))
		time.Sleep(unreadPatience)
		must(other.answer(10, new(int)))
		if cut != [3]int{1, 1, 1} {
			t.Errorf("when all have waited for long %v are let go", cut)
		}
		for _, hold := range holds {
			hold.Release()
		}
		if budget.held != 0 || len(budget.by) != 0 || len(budget.slow) != 0 {
			t.Errorf("in the end %d bytes are held, by %v, %d wait", budget.held, budget.by, len(budget.slow))
		}
	})
}

// An answer of a call counts until it is released or the call has ended.
func TestTakeAnswer(t *testing.T) {
	t.Parallel()
	budget := NewBudget(100)
	ctx, call := budget.Begin(t.Context(), "ada", nil, func() {})
	take := func() *Hold {
		answer, err := TakeAnswer(ctx, func() int { return 80 })
		if err != nil || budget.held != 80 {
			t.Fatalf("error %v, %d bytes are held", err, budget.held)
		}
		return answer
	}
	take().Release()
	take()
	call.Release()
	if budget.held != 0 || len(budget.slow) != 0 {
		t.Errorf("%d bytes are held, %d wait", budget.held, len(budget.slow))
	}
	if answer, err := TakeAnswer(t.Context(), func() int { return 1000 }); answer != nil || err != nil {
		t.Errorf("without a hold: %v, error %v", answer, err)
	}
}
