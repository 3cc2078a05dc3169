package lane

import (
	"context"
	"testing"
)

type namedKey struct{}

// named is a permit with a name.
type named struct{ name *string }

func (n *named) Valid() bool { return true }

func (n *named) Value(key any) any {
	if key == (namedKey{}) {
		return n.name
	}
	return nil
}

// What a permit has is in the context of its calls, which costs no allocation, beside what
// is there already.
func TestPermitsAreInTheContext(t *testing.T) {
	t.Parallel()
	type otherKey struct{}
	name := "somebody"
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), otherKey{}, "other"))
	defer cancel()
	c := &call{permitted: permittedContext{permit: &named{&name}}}
	c.ctx = c.permit(ctx)
	if got, _ := c.ctx.Value(namedKey{}).(*string); got != &name {
		t.Errorf("the context has %v", got)
	}
	if c.ctx.Value(otherKey{}) != "other" {
		t.Error("what was in the context is gone")
	}
	child, cancelChild := context.WithCancel(c.ctx)
	defer cancelChild()
	cancel()
	if <-child.Done(); c.ctx.Err() == nil {
		t.Error("the context does not end with that of the stream")
	}
	if without := new(call); without.permit(ctx) != ctx {
		t.Error("a call without a permit has another context")
	}
}

func TestPermitsCostNothing(t *testing.T) {
	name := "somebody"
	c := &call{permitted: permittedContext{permit: &named{&name}}}
	if n := testing.AllocsPerRun(100, func() {
		if c.permit(context.Background()).Value(namedKey{}) == nil {
			t.Error("no name")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
