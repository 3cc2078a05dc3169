package admission_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/server/admission"
	"github.com/example/userd/store"
)

// bulkStreams is how many streams have places at a time.
const bulkStreams = 32

// importing is a stream of imports, one after the other, until its context ends.
type importing struct {
	ctx    context.Context
	stream *admission.Stream
	load
}

func begin(t *testing.T, s *admission.Store) *importing {
	t.Helper()
	ctx, stream, err := s.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &importing{ctx: ctx, stream: stream}
}

// chunk stores a chunk of rows when it is the turn of its stream.
func (i *importing) chunk(s store.Store) func(context.Context) error {
	return func(ctx context.Context) error { return i.stream.Do(ctx, importRows(s)) }
}

// Those that are let in are never refused, and share what can be done alike; others are
// refused at once. On both kinds of stores.
func TestStreamsShareWhatCanBeDone(t *testing.T) {
	t.Parallel()
	for name, capacity := range map[string]store.Capacity{"connections": connections, "groups": groups} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				below := newSlow(capacity)
				below.search = 10 * time.Millisecond
				s := admission.New(below, quietLog())
				streams := make([]*importing, bulkStreams)
				for n := range streams {
					streams[n] = begin(t, s)
				}
				var waits []func()
				for _, i := range streams {
					ctx, cancel := context.WithTimeout(i.ctx, 20*time.Second)
					defer cancel()
					waits = append(waits, i.run(ctx, 1, i.chunk(s)))
				}
				time.Sleep(10 * time.Second) // None of them is silent.
				if _, _, err := s.Stream(t.Context()); err != store.ErrOverloaded {
					t.Errorf("one more is told %v", err)
				}
				var done []int64
				for n, wait := range waits {
					wait()
					done = append(done, streams[n].done.Load())
					if refused := streams[n].refused.Load(); refused != 0 {
						t.Errorf("stream %d was refused %d times after it was let in", n, refused)
					}
					streams[n].stream.Leave()
				}
				if least, most := slices.Min(done), slices.Max(done); least < most-2 || least == 0 {
					t.Errorf("one stream stored %d chunks and another %d", least, most)
				}
				begin(t, s) // There is room again.
			})
		})
	}
}

// A stream that says nothing gives its place to another, and can go on when there is one
// again.
func TestSilentStreamsGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := newSlow(connections)
		below.search = 10 * time.Millisecond
		s := admission.New(below, quietLog())
		silent := begin(t, s)
		time.Sleep(2 * time.Second)
		others := make([]*importing, bulkStreams)
		for n := range others {
			others[n] = begin(t, s)
		}
		if err := silent.chunk(s)(silent.ctx); err != store.ErrOverloaded {
			t.Errorf("who was silent is told %v", err)
		}
		others[0].stream.Leave()
		if err := silent.chunk(s)(silent.ctx); err != nil {
			t.Errorf("when there is a place again it is told %v", err)
		}
		if _, _, err := s.Stream(t.Context()); err != store.ErrOverloaded {
			t.Errorf("one more is told %v", err)
		}
	})
}

// All writes of a turn share it: the store that it waits for is there for them alone.
func TestWritesOfOneTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(groups), quietLog())
		i := begin(t, s)
		err := i.stream.Do(i.ctx, func(ctx context.Context) error {
			return errors.Join(importRows(s)(ctx), importRows(s)(ctx))
		})
		if waits := s.Stats()[admission.Bulk].Waits; err != nil || waits.Calls != 1 {
			t.Errorf("error %v, %d turns", err, waits.Calls)
		}
	})
}

// Groups of updates come from many streams, each now and then. They find room, however many
// chunks of imports wait.
func TestUpdatesBesideManyImports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := newSlow(connections)
		below.search = 10 * time.Millisecond
		s := admission.New(below, quietLog())
		ctx, cancel := context.WithCancel(t.Context()) // A deadline would have them refused.
		time.AfterFunc(5*time.Second, cancel)
		var imports, updates load
		for range bulkStreams {
			i := begin(t, s)
			streamed, stop := context.WithCancel(i.ctx)
			time.AfterFunc(5*time.Second, stop)
			imports.run(streamed, 1, i.chunk(s))
		}
		updates.run(ctx, 8, importRows(s))()
		if updates.refused.Load() != 0 || updates.done.Load() < 50 {
			t.Errorf("%d groups of updates were refused, %d done", updates.refused.Load(), updates.done.Load())
		}
		if imports.refused.Load() != 0 {
			t.Errorf("%d chunks were refused", imports.refused.Load())
		}
		synctest.Wait()
	})
}

// A stream is not let in where its first chunk would be too late.
func TestNoStreamBeginsThatCannotEndInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admission.New(newSlow(groups), quietLog())
		i := begin(t, s)
		var load load
		ctx, cancel := context.WithTimeout(i.ctx, 20*time.Second)
		defer cancel()
		wait := load.run(ctx, 8, i.chunk(s))
		time.Sleep(10 * time.Second)
		hurried, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		if _, _, err := s.Stream(hurried); !errors.Is(err, store.ErrOverloaded) {
			t.Errorf("error is %v", err)
		}
		wait()
	})
}

// While others read and write there is one import and one search at a time, else two of each.
func TestLongCallsBesideOthers(t *testing.T) {
	t.Parallel()
	for class, long := range map[string]func(store.Store) func(context.Context) error{"import": importRows, "search": search} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				below := newSlow(connections)
				below.search = 100 * time.Millisecond
				s := admission.New(below, quietLog())
				for _, step := range []struct {
					name   string
					others func(context.Context) error
					want   int
				}{{"alone", nil, 2}, {"beside reads", get(s), 1}, {"beside writes", create(s), 1}, {"beside lists", list(s), 2}, {"alone again", nil, 2}} {
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					wait := func() {}
					if step.others != nil {
						wait = new(load).run(ctx, 1, step.others)
					}
					time.Sleep(time.Millisecond)
					below.mu.Lock()
					below.most[class] = 0
					below.mu.Unlock()
					new(load).run(ctx, 4, long(s))()
					wait()
					cancel()
					if below.most[class] != step.want {
						t.Errorf("%s: %d at once, want %d", step.name, below.most[class], step.want)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// Where more streams come than the store can do, as many end in time as ever: those that are
// let in are no more than can.
func TestMoreStreamsThanTheStoreCanDo(t *testing.T) {
	t.Parallel()
	for _, chunks := range []int{1, 3} {
		for name, capacity := range map[string]store.Capacity{"connections": connections, "groups": groups} {
			t.Run(fmt.Sprintf("%s/%d chunks", name, chunks), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					below := newSlow(capacity)
					below.search = 30 * time.Millisecond / time.Duration(chunks)
					s := admission.New(below, quietLog())
					peak := 33 // One at once,
					if capacity == connections {
						peak = 66 // or two.
					}
					var offered load
					calls := openLoop(t, 3*peak, 5*time.Second, func(ctx context.Context) {
						ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
						defer cancel()
						offered.one(ctx, func(ctx context.Context) error { return importAll(ctx, s, chunks) })
					})
					if done := int(offered.done.Load()); done < 5*peak*9/10 {
						t.Errorf("%d of %d streams were stored, want %d; %d refused, %d expired", done, calls, 5*peak*9/10, offered.refused.Load(), offered.expired.Load())
					}
				})
			})
		}
	}
}

// importAll is a stream of chunks, whose rows take a while to arrive.
func importAll(ctx context.Context, s *admission.Store, chunks int) error {
	ctx, stream, err := s.Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Leave()
	for range chunks {
		time.Sleep(2 * time.Millisecond)
		if err := stream.Do(ctx, importRows(s)); err != nil {
			return err
		}
	}
	return nil
}
