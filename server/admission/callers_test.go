package admission_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/server/admission"
	"github.com/example/userd/store"
)

type callerKey struct{}

// as is a context of a caller.
func as(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callerKey{}, name)
}

// newFair admits calls of callers who are in their contexts.
func newFair(below store.Store) *admission.Store {
	s := admission.New(below, quietLog())
	s.CallerOf = func(ctx context.Context) string {
		name, _ := ctx.Value(callerKey{}).(string)
		return name
	}
	return s
}

// Whoever has few calls is served beside one who has many, as if that one was not there:
// nothing is refused, and no call takes much more than twice as long.
func TestNoCallerStarvesAnother(t *testing.T) {
	t.Parallel()
	for name, capacity := range map[string]store.Capacity{"connections": connections, "groups": groups} {
		for kind, class := range map[string]func(store.Store) func(context.Context) error{
			"lookups": get, "creates": create, "lists": list, "searches": search, "imports": importRows, "catching up": changes,
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newFair(newSlow(capacity))
					call := class(s)
					ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
					defer cancel()
					var noisy, quiet load
					wait := noisy.run(as(ctx, "noisy"), 100, patiently(call))
					time.Sleep(2 * time.Second)
					quiet.run(as(ctx, "quiet"), 1, func(ctx context.Context) error {
						defer time.Sleep(100 * time.Millisecond)
						return call(context.WithoutCancel(ctx))
					})()
					wait()
					alone := newSlow(capacity)
					began := time.Now()
					_ = class(alone)(t.Context())
					once := time.Since(began)
					if longest := time.Duration(quiet.longest.Load()) - 100*time.Millisecond; quiet.done.Load() == 0 || longest > 2*once {
						t.Errorf("%d calls of the one with few were done, the longest took %v, %v without others", quiet.done.Load(), longest, once)
					}
					if refused := quiet.refused.Load(); refused > 0 {
						t.Errorf("%d calls of the one with few were refused, %d were done", refused, quiet.done.Load())
					}
				})
			})
		}
	}
}

// patiently is a call whose caller waits where it was refused.
func patiently(call func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := call(ctx)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
		}
		return err
	}
}

// Callers with as many calls as they like get as much as each other, and together as much as
// one alone.
func TestCallersShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFair(newSlow(connections))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var loads [3]load
		var group sync.WaitGroup
		for i := range loads {
			group.Go(loads[i].run(as(ctx, string(rune('a'+i))), 10*(1+i*i), patiently(get(s))))
		}
		group.Wait()
		const all = 6_000 // Twelve at once, of 10 ms each.
		sum := int64(0)
		for i := range loads {
			done := loads[i].done.Load()
			if done < all/len64(loads[:])*9/10 {
				t.Errorf("caller %d has %d of %d", i, done, all)
			}
			sum += done
		}
		if sum < all*9/10 {
			t.Errorf("all have %d of %d", sum, all)
		}
	})
}

// A caller who always has another call that waits gets about as much as each of those who
// have one call at a time.
func TestCallersWithOneCallShareWithOneWithSeveral(t *testing.T) {
	t.Parallel()
	for kind, of := range map[string]struct {
		class    func(store.Store) func(context.Context) error
		capacity store.Capacity
		singles  int
		calls    int // Of the one with several.
	}{
		"lookups": {get, connections, 30, 4},
		"creates": {create, connections, 30, 2},
		"lists":   {list, groups, 2, 2},
		"imports": {importRows, groups, 2, 2},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				below := newSlow(of.capacity)
				below.search = 10 * time.Millisecond
				call := patiently(of.class(newFair(below)))
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				var several, singles load
				var group sync.WaitGroup
				for i := range of.singles {
					group.Go(singles.run(as(ctx, fmt.Sprint(i)), 1, call))
				}
				time.Sleep(100 * time.Millisecond)
				group.Go(several.run(as(ctx, "several"), of.calls, call))
				group.Wait()
				each := singles.done.Load() / int64(of.singles)
				if done := several.done.Load(); done < each*3/4 || done > each*3/2 {
					t.Errorf("%d calls of the one with several were done, %d of each other", done, each)
				}
			})
		})
	}
}

func len64[T any](of []T) int64 { return int64(len(of)) }

// A caller alone has all places, also a while after others have gone.
func TestCallerAloneHasAllPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := newSlow(connections)
		s := newFair(below)
		run := func(want int) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			below.most = make(map[string]int)
			var one load
			one.run(as(ctx, "one"), 40, get(s))()
			if below.most["get"] != want {
				t.Errorf("%d calls at once, want %d", below.most["get"], want)
			}
		}
		run(12)
		_ = get(s)(as(t.Context(), "other"))
		time.Sleep(2 * time.Second)
		run(12)
	})
}

// A caller whose last call is refused when the next one comes remains one caller, and has no
// two shares.
func TestRefusedCallerIsTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := newSlow(connections)
		below.takes = 2 * time.Second
		s := newFair(below)
		done := make(chan string, 100)
		call := func(ctx context.Context, names ...string) {
			for _, name := range names {
				go func() {
					if get(s)(as(ctx, name)) == nil {
						done <- name
					}
				}()
				time.Sleep(10 * time.Millisecond)
			}
		}
		for i := range 12 {
			call(t.Context(), fmt.Sprint(i)) // All that begin at once.
		}
		gone, leave := context.WithCancel(t.Context())
		call(gone, "one") // Is refused when it has waited for a second and the next one comes.
		for i := range 12 {
			call(gone, fmt.Sprint("gone ", i))
		}
		time.Sleep(time.Second)
		call(t.Context(), "one", "one", "other")
		leave()
		for range 12 {
			<-done
		}
		if got := []string{<-done, <-done, <-done}; !slices.Equal(got, []string{"one", "other", "one"}) {
			t.Errorf("then calls of %q were done", got)
		}
	})
}

// A call that is refused for one of another caller is counted so.
func TestFullQueueTakesCallsOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := newSlow(connections)
		below.takes = time.Second
		s := newFair(below)
		refused := make(chan error, 500)
		for range 12 + 256 {
			go func() { refused <- get(s)(as(t.Context(), "many")) }()
		}
		synctest.Wait()
		if err := get(s)(as(t.Context(), "many")); !errors.Is(err, store.ErrOverloaded) {
			t.Errorf("one more of the caller with many: %v", err)
		}
		go func() { _ = get(s)(as(t.Context(), "few")) }()
		synctest.Wait()
		if err := <-refused; !errors.Is(err, store.ErrOverloaded) {
			t.Errorf("the last of the caller with many: %v", err)
		}
		if stats := s.Stats()[admission.Lookup]; stats.Yielded != 1 || stats.Refused != 2 || stats.Waiting != 256 {
			t.Errorf("%+v", stats)
		}
		time.Sleep(time.Minute)
	})
}

// A caller with many writes of one user does not keep others from writes of it.
func TestTurnsAreSharedByCallers(t *testing.T) {
	t.Parallel()
	for _, calls := range []int{2, 20, 129, 200} {
		t.Run(fmt.Sprint(calls), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newFair(newSlow(connections))
				var many load
				for range calls {
					go many.one(as(t.Context(), "many"), update(s, "hot"))
				}
				synctest.Wait()
				began := time.Now()
				if err := update(s, "hot")(as(t.Context(), "few")); err != nil || time.Since(began) != 20*time.Millisecond {
					t.Errorf("one write of another caller: %v, after %v, want it to be done after the one under way", err, time.Since(began))
				}
				time.Sleep(time.Minute)
				if done := many.done.Load(); done < int64(min(calls, 128)) {
					t.Errorf("%d of %d of the caller with many were done", done, calls)
				}
			})
		})
	}
}
