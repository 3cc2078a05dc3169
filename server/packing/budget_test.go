package packing

import (
	"errors"
	"testing"

	"github.com/example/userd/server/failure"
)

// Small messages do not count; large ones do until they are released, and one at a time is
// taken however large it is.
func TestBudget(t *testing.T) {
	t.Parallel()
	budget := NewBudget(4 * largeBytes)
	begin := func() *Hold {
		_, hold := budget.Begin(t.Context())
		return hold
	}
	small, first, second, third := begin(), begin(), begin(), begin()
	for _, part := range []int{1, largeBytes - 1} {
		if err := small.Received(part); err != nil {
			t.Fatal(err)
		}
	}
	if budget.held != 0 {
		t.Errorf("a small message counts %d bytes", budget.held)
	}
	for range 10 {
		if err := first.Received(largeBytes); err != nil {
			t.Fatalf("the only large message is refused: %v", err)
		}
	}
	if err := second.Received(largeBytes + 1); !errors.Is(err, failure.ErrOverloaded) {
		t.Errorf("error is %v, want that the budget is used up", err)
	}
	if held, refused := budget.Stats(); held != 9*largeBytes || refused != 1 {
		t.Errorf("%d bytes are held, %d refused", held, refused)
	}
	first.Release()
	first.Release()
	if err := third.Received(2 * largeBytes); err != nil || budget.held != largeBytes {
		t.Errorf("error is %v after the first is gone, %d bytes are held", err, budget.held)
	}
}

// What is about to be decoded counts for its call.
func TestDecodingCounts(t *testing.T) {
	t.Parallel()
	budget := NewBudget(largeBytes)
	ctx, hold := budget.Begin(t.Context())
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
