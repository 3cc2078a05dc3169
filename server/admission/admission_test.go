package admission_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/server/admission"
	"github.com/example/userd/store"
)

// slow is a store whose calls take a time, and that counts them.
type slow struct {
	store.Store
	capacity store.Capacity
	takes    time.Duration // A lookup, a write, a page of the log.
	search   time.Duration
	halts    time.Duration // At the beginning of each second nothing is done for so long.

	mu    sync.Mutex
	begun map[string]int // Calls under way, by method.
	most  map[string]int
}

func newSlow(capacity store.Capacity) *slow {
	return &slow{
		capacity: capacity, takes: 10 * time.Millisecond, search: time.Second,
		begun: make(map[string]int), most: make(map[string]int),
	}
}

// call is a call that takes a time, or less where its context ends.
func (s *slow) call(ctx context.Context, name string, takes time.Duration) error {
	s.mu.Lock()
	s.begun[name]++
	s.most[name] = max(s.most[name], s.begun[name])
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.begun[name]--
	}()
	if into := time.Duration(time.Now().Nanosecond()); into < s.halts {
		takes += s.halts - into
	}
	select {
	case <-time.After(takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slow) Capacity() store.Capacity { return s.capacity }

func (s *slow) Get(ctx context.Context, _ string) (store.User, error) {
	return store.User{}, s.call(ctx, "get", s.takes)
}

func (s *slow) GetMany(ctx context.Context, _ []string) ([]store.User, error) {
	return nil, s.call(ctx, "get many", s.takes)
}

func (s *slow) Create(ctx context.Context, _ store.NewUser) (store.Written, error) {
	return store.Written{}, s.call(ctx, "create", s.takes)
}

func (s *slow) Update(ctx context.Context, update store.Update) (store.Written, error) {
	return store.Written{}, s.call(ctx, "update "+update.ID, s.takes)
}

func (s *slow) List(ctx context.Context, query store.Query) (store.Page, error) {
	name := "list"
	if query.Filters() {
		name = "search"
	}
	return store.Page{}, s.call(ctx, name, s.search)
}

func (s *slow) Import(ctx context.Context, _ []store.NewUser) ([]store.Created, error) {
	return nil, s.call(ctx, "import", s.search)
}

func (s *slow) Changes(ctx context.Context, _ store.Cursor, _ int) ([]store.Change, store.Cursor, error) {
	return nil, "", s.call(ctx, "changes", s.takes)
}

// connections are those of a store whose writes have one each; groups is one whose writes
// share a transaction.
var (
	connections = store.Capacity{Reads: 16}
	groups      = store.Capacity{Reads: 8, Writes: 64}
)

// load calls f from some callers, again and again, until ctx ends, and returns how many
// calls did what they should and how many were refused.
type load struct {
	done, refused, expired atomic.Int64
	longest                atomic.Int64 // Of those that did.
}

func (l *load) run(ctx context.Context, callers int, call func(context.Context) error) (wait func()) {
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for ctx.Err() == nil {
				l.one(ctx, call)
			}
		})
	}
	return group.Wait
}

func (l *load) one(ctx context.Context, call func(context.Context) error) {
	began := time.Now()
	err := call(ctx)
	switch {
	case err == nil:
		l.done.Add(1)
		for took := int64(time.Since(began)); ; {
			longest := l.longest.Load()
			if took <= longest || l.longest.CompareAndSwap(longest, took) {
				return
			}
		}
	case errors.Is(err, store.ErrOverloaded):
		l.refused.Add(1)
		time.Sleep(time.Millisecond) // As its caller does, who is told to wait for longer.
	default:
		l.expired.Add(1)
	}
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func get(s store.Store) func(context.Context) error {
	return func(ctx context.Context) error { _, err := s.Get(ctx, "one"); return err }
}

func create(s store.Store) func(context.Context) error {
	return func(ctx context.Context) error { _, err := s.Create(ctx, store.NewUser{}); return err }
}

func update(s store.Store, id string) func(context.Context) error {
	return func(ctx context.Context) error { _, err := s.Update(ctx, store.Update{ID: id}); return err }
}

func list(s store.Store) func(context.Context) error {
	return func(ctx context.Context) error { _, err := s.List(ctx, store.Query{}); return err }
}

func search(s store.Store) func(context.Context) error {
	return func(ctx context.Context) error { _, err := s.List(ctx, store.Query{NameContains: "rare"}); return err }
}

func importRows(s store.Store) func(context.Context) error {
	return func(ctx context.Context) error { _, err := s.Import(ctx, nil); return err }
}

func changes(s store.Store) func(context.Context) error {
	return func(ctx context.Context) error { _, _, err := s.Changes(ctx, "", 1); return err }
}

func TestNoClassStarvesAnother(t *testing.T) {
	t.Parallel()
	for name, capacity := range map[string]store.Capacity{"connections": connections, "groups": groups} {
		for rival, class := range map[string]func(store.Store) func(context.Context) error{
			"lists": list, "searches": search, "imports": importRows, "catching up": changes, "lookups": get,
			"updates of one user": func(s store.Store) func(context.Context) error { return update(s, "hot") },
		} {
			if capacity == groups && rival == "updates of one user" {
				continue // They are writes like others there, and share transactions with them.
			}
			t.Run(name+"/"+rival, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					below := newSlow(capacity)
					s := admission.New(below, quietLog())
					alone := creates(t, s, nil)
					beside := creates(t, s, class(s))
					if beside < alone/2 {
						t.Errorf("%d creates a second, %d without the others", beside, alone)
					}
				})
			})
		}
	}
}

// creates returns how many creates four callers do in a second, beside 200 that call
// another.
func creates(t *testing.T, s store.Store, other func(context.Context) error) int64 {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var ours, theirs load
	if other != nil {
		defer theirs.run(ctx, 200, other)()
		synctest.Wait() // They come first.
	}
	ours.run(ctx, 4, create(s))()
	return ours.done.Load()
}

// Every class goes on where there are fewer connections than classes.
func TestNoClassStarvesWithFewConnections(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 5; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				equal := int64(n) * 1000 / 6 // Of all that is done in ten seconds, in 10 ms each.
				for class, done := range besideEachOther(t, n, 10*time.Millisecond) {
					if done < equal/2 {
						t.Errorf("%d %s were done, want at least half of %d", done, class, equal)
					}
				}
			})
		})
	}
}

// Where there are two connections, calls that take long leave one to those that do not.
func TestLongCallsLeaveAConnection(t *testing.T) {
	t.Parallel()
	for n := 2; n <= 5; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				done := besideEachOther(t, n, time.Second)
				if done["lookups"] < 450 || done["creates"] < 450 {
					t.Errorf("%v, want 500 lookups and creates, which is what one connection can do", done)
				}
				if done["lists"] < 2 || done["searches"] < 2 || done["imports"] < 2 {
					t.Errorf("%v, want some of each", done)
				}
			})
		})
	}
}

// besideEachOther returns how many calls of each class are done in ten seconds with n
// connections, all called by twelve. Lists, searches and imports take a time.
func besideEachOther(t *testing.T, n int, takes time.Duration) map[string]int64 {
	below := newSlow(store.Capacity{Reads: n})
	below.search = takes
	s := admission.New(below, quietLog())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var group sync.WaitGroup
	loads := make(map[string]*load)
	for name, class := range map[string]func(store.Store) func(context.Context) error{
		"lookups": get, "creates": create, "lists": list, "searches": search, "imports": importRows, "catching up": changes,
	} {
		loads[name] = new(load)
		group.Go(loads[name].run(ctx, 12, patiently(class(s))))
	}
	group.Wait()
	done := make(map[string]int64)
	for name, l := range loads {
		done[name] = l.done.Load()
	}
	return done
}

// What is more than the store can do is refused at once, and what is done is as much as
// ever.
func TestMoreThanTheStoreCanDo(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(store.Store) func(context.Context) error{"lookups": get, "writes": create} {
		for _, deadline := range []time.Duration{0, 500 * time.Millisecond, 15 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s/%v", name, deadline), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := admission.New(newSlow(connections), quietLog())
					const peak = 1200 // Twelve at once, of 10 ms each.
					var offered load
					calls := openLoop(t, 3*peak, 2*time.Second, func(ctx context.Context) {
						if deadline > 0 {
							var cancel context.CancelFunc
							ctx, cancel = context.WithTimeout(ctx, deadline)
							defer cancel()
						}
						offered.one(ctx, call(s))
					})
					if done := offered.done.Load(); done < 2*peak*9/10 {
						t.Errorf("%d of %d calls were done, %d refused, %d expired", done, calls, offered.refused.Load(), offered.expired.Load())
					}
					if longest := time.Duration(offered.longest.Load()); longest > 120*time.Millisecond {
						t.Errorf("one took %v", longest)
					}
					if expired := offered.expired.Load(); expired > int64(calls)/100 {
						t.Errorf("%d of %d calls expired", expired, calls)
					}
				})
			})
		}
	}
}

// openLoop begins calls at a rate, whatever becomes of them, and returns how many.
func openLoop(t *testing.T, rate int, length time.Duration, call func(context.Context)) int {
	var group sync.WaitGroup
	calls := rate * int(length/time.Second)
	for range calls {
		group.Go(func() { call(t.Context()) })
		time.Sleep(time.Second / time.Duration(rate))
	}
	group.Wait()
	return calls
}

// As many callers as there is room for, who each wait for their answers, are served, however
// long the queue that they make stands: it does not grow. So they are where the store halts
// now and then.
func TestCallersWhoWaitForTheirAnswers(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(store.Store) func(context.Context) error{
		"lookups": get, "writes": create, "writes of a hot user, too": updateHot,
	} {
		for takes, halts := range map[time.Duration]time.Duration{time.Millisecond: 0, 10 * time.Millisecond: 300 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s/%v", name, takes), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					below := newSlow(connections)
					below.takes, below.halts = takes, halts
					checkClosedLoop(t, admission.New(below, quietLog()), call)
				})
			})
		}
	}
}

// checkClosedLoop calls from 128 callers, each with a deadline that leaves room.
func checkClosedLoop(t *testing.T, s store.Store, call func(store.Store) func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var callers load
	one := call(s)
	callers.run(ctx, 128, func(context.Context) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return one(ctx)
	})()
	if refused, expired := callers.refused.Load(), callers.expired.Load(); refused+expired != 0 {
		t.Errorf("%d were refused and %d expired, %d done, the longest took %v", refused, expired, callers.done.Load(), time.Duration(callers.longest.Load()))
	}
}

// updateHot updates one user in one of 16 calls, else another each time.
func updateHot(s store.Store) func(context.Context) error {
	var calls atomic.Int64
	return func(ctx context.Context) error {
		if call := calls.Add(1); call%16 > 0 {
			return update(s, fmt.Sprint(call))(ctx)
		}
		return update(s, "hot")(ctx)
	}
}

// They are served as before when others have gone who asked for more than the store can do.
func TestCallersAfterAnOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(connections), quietLog())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var callers, others load
		wait := callers.run(ctx, 128, func(context.Context) error {
			err := get(s)(t.Context())
			if err != nil {
				time.Sleep(250 * time.Millisecond) // As they are told to.
			}
			return err
		})
		openLoop(t, 3600, 2*time.Second, func(ctx context.Context) { others.one(ctx, get(s)) })
		if callers.refused.Load() == 0 || others.refused.Load() == 0 {
			t.Errorf("%d and %d were refused beside each other", callers.refused.Load(), others.refused.Load())
		}
		time.Sleep(time.Second)
		before := callers.refused.Load()
		wait()
		if after := callers.refused.Load(); after != before {
			t.Errorf("%d were refused a second after the others had gone", after-before)
		}
	})
}

// Callers of whom there is room for all are served again a while after an overload, also when
// they do not wait as they are told to.
func TestHastyCallersAfterAnOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(connections), quietLog())
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		var callers, others load
		wait := callers.run(ctx, 128, patiently(func(context.Context) error { return get(s)(t.Context()) }))
		openLoop(t, 3600, time.Second, func(ctx context.Context) { others.one(ctx, get(s)) })
		time.Sleep(6 * time.Second)
		before := callers.refused.Load()
		wait()
		if after := callers.refused.Load(); before == 0 || after != before {
			t.Errorf("%d were refused, %d of them six seconds after the others had gone", after, after-before)
		}
	})
}

// A burst waits.
func TestBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(connections), quietLog())
		var burst load
		var group sync.WaitGroup
		for range 120 {
			group.Go(func() { burst.one(t.Context(), get(s)) })
		}
		group.Wait()
		if done := burst.done.Load(); done != 120 {
			t.Errorf("%d of 120 were done", done)
		}
	})
}

// A store that halts for a while costs no call of those that it could take at once.
func TestStoreHalts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := newSlow(connections)
		below.takes = time.Second
		s := admission.New(below, quietLog())
		var halted load
		var group sync.WaitGroup
		for range 24 {
			group.Go(func() {
				for range 5 {
					halted.one(t.Context(), get(s))
				}
			})
		}
		group.Wait()
		if refused := halted.refused.Load(); refused != 0 {
			t.Errorf("%d were refused, %d done", refused, halted.done.Load())
		}
	})
}

// A store that was slow and is fast again is not taken for slow for ever, by callers each of
// whom wants the answer before it would be there if it were.
func TestStoreIsFastAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := newSlow(connections)
		s := admission.New(below, quietLog())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		below.takes = 8 * time.Second
		var patient load
		patient.run(ctx, 48, func(context.Context) error { return get(s)(t.Context()) })()
		below.takes = 10 * time.Millisecond
		var refused int64
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var hasty load
			hasty.run(ctx, 48, func(context.Context) error {
				ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
				defer cancel()
				return get(s)(ctx)
			})()
			refused = hasty.refused.Load()
		}
		if refused > 0 {
			t.Errorf("%d were refused in the fifth second, which could all be served", refused)
		}
	})
}

func TestNothingBeginsThatCannotEndInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(connections), quietLog())
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := get(s)(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("a call of nobody: %v", err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		var others load
		wait := others.run(ctx, 40, get(s))
		time.Sleep(500 * time.Millisecond) // The class knows how long it takes, and is full.
		short, cancelShort := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancelShort()
		began := time.Now()
		if err := get(s)(short); !errors.Is(err, store.ErrOverloaded) || time.Since(began) != 0 {
			t.Errorf("a call that would be answered too late: %v, after %v", err, time.Since(began))
		}
		wait()
	})
}

// The users in a page of the past are read in the share of the log, not in that of lookups.
func TestUsersInPagesOfTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(connections), quietLog())
		for ctx, want := range map[context.Context]admission.Class{
			t.Context(): admission.Lookup, store.CatchingUp(t.Context()): admission.CatchUp,
		} {
			before := s.Stats()[want].Waits.Calls
			if _, err := s.GetMany(ctx, nil); err != nil {
				t.Fatal(err)
			}
			if after := s.Stats()[want].Waits.Calls; after != before+1 {
				t.Errorf("the class %v has admitted %d calls", want, after-before)
			}
		}
	})
}

// Who asks whether a call would be refused is told what the call would be told.
func TestRefuse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(connections), quietLog())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Refuse("", admission.Lookup); err != nil {
			t.Errorf("nobody calls: %v", err)
		}
		var others load
		wait := others.run(ctx, 400, get(s))
		time.Sleep(500 * time.Millisecond)
		var told int64
		for range 100 {
			time.Sleep(time.Millisecond)
			if s.Refuse("", admission.Lookup) == store.ErrOverloaded {
				told++
			}
		}
		if told < 50 {
			t.Errorf("%d of 100 would be refused beside 400 that call all the time", told)
		}
		if err := s.Refuse("", admission.Write); err != nil {
			t.Errorf("nobody writes: %v", err)
		}
		wait()
		if refused := s.Stats()[admission.Lookup].Refused; refused != others.refused.Load()+told {
			t.Errorf("%d are counted as refused, want %d", refused, others.refused.Load()+told)
		}
	})
}

func TestWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(connections), quietLog())
		var group sync.WaitGroup
		for range 36 { // Three times as many as begin at once, of 10 ms each.
			group.Go(func() { _ = get(s)(t.Context()) })
		}
		group.Wait()
		waits := s.Stats()[admission.Lookup].Waits
		if waits.Calls != 36 || waits.Total != 12*30*time.Millisecond || fmt.Sprint(waits.Within) != "[12 12 24 36 36 36]" {
			t.Errorf("%+v", waits)
		}
	})
}

// The writes of one user wait for each other here, where they hold nothing.
func TestWritesOfOneUserTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := newSlow(connections)
		s := admission.New(below, quietLog())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var hot, cold load
		waitHot := hot.run(ctx, 200, update(s, "hot"))
		cold.run(ctx, 1, update(s, "cold"))()
		waitHot()
		if below.most["update hot"] != 1 {
			t.Errorf("%d writes of one user at once", below.most["update hot"])
		}
		if hot.done.Load() < 90 || cold.done.Load() < 90 {
			t.Errorf("%d writes of the hot user and %d of the other, want some 100 of each", hot.done.Load(), cold.done.Load())
		}
		if told, counted := hot.refused.Load(), s.Stats()[admission.Write].Refused; told == 0 || counted != told {
			t.Errorf("%d writes were refused, %d are counted", told, counted)
		}
	})
}

// A write that has waited for its turn is not refused for that when it has it, where there
// are more writes than the store can do.
func TestTurnIsNotLostInAnOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(connections), quietLog())
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var hot, others load
		wait := hot.run(ctx, 32, patiently(func(context.Context) error { return update(s, "hot")(t.Context()) }))
		openLoop(t, 1500, 2*time.Second, func(ctx context.Context) { others.one(ctx, create(s)) })
		wait()
		if others.refused.Load() == 0 {
			t.Error("no other was refused")
		}
		if done, refused := hot.done.Load(), hot.refused.Load(); done < 180 || refused > done {
			t.Errorf("%d writes of the hot user were done and %d refused, want some 200 and fewer", done, refused)
		}
	})
}

func TestWhatKeepsTheServiceAliveNeverWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(connections), quietLog())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var others load
		wait := others.run(ctx, 100, changes(s))
		synctest.Wait()
		began := time.Now()
		if err := changes(s)(store.Vital(t.Context())); err != nil || time.Since(began) > 10*time.Millisecond {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
		wait()
	})
}

func TestTheLogTellsWhenRefusingBeginsAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := admission.New(newSlow(connections), slog.New(slog.NewTextHandler(&log, nil)))
		var offered load
		openLoop(t, 4000, time.Second, func(ctx context.Context) { offered.one(ctx, get(s)) })
		time.Sleep(time.Minute)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		refused := fmt.Sprintf(`class=lookup refused=%d`, offered.refused.Load())
		if len(lines) != 2 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "class=lookup") || !strings.Contains(lines[1], refused) {
			t.Errorf("the log says\n%swant that lookups are refused, and %s", log.String(), refused)
		}
		for _, stats := range s.Stats() {
			if stats.Begun != 0 || stats.Waiting != 0 {
				t.Errorf("%v: %d are under way and %d wait, and nobody calls", stats.Class, stats.Begun, stats.Waiting)
			}
			if stats.Class == admission.Lookup && (stats.Refused != offered.refused.Load() || stats.Waits.Calls != offered.done.Load()) {
				t.Errorf("%+v, want %d refused and %d admitted", stats, offered.refused.Load(), offered.done.Load())
			}
		}
	})
}
