package cache

import (
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// machine is a machine that can be suspended: its wall clock goes on, its monotonic clock does
// not.
type machine struct{ suspended atomic.Int64 }

func (m *machine) suspend(d time.Duration) { m.suspended.Add(int64(d)) }

func (m *machine) now() time.Time {
	return apart(time.Now(), time.Duration(m.suspended.Load()))
}

// apart returns t with a wall clock that is ahead of the monotonic clock.
func apart(t time.Time, ahead time.Duration) time.Time {
	moved := t.Add(ahead)
	(*struct {
		wall      uint64
		monotonic int64
	})(unsafe.Pointer(&moved)).monotonic -= int64(ahead)
	return moved
}

// What was fresh when a machine was suspended is not when it goes on.
func TestSuspendedMachine(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		m, u := new(machine), b.user(t)
		c := b.open(t, func(config *Config) { config.Now = m.now })
		warm(t, c, u.ID, 1)
		b.store.down.Store(true) // No samples any more.
		rename(t, b.store, u.ID, "two")
		m.suspend(time.Hour)
		if e, ok := c.Cached(u.ID, Read{}); ok {
			t.Errorf("shown at version %d, as it was before the machine was suspended", e.Version)
		}
		b.store.down.Store(false)
		look(t, c, u.ID, 2)
		for !c.Stats().Trusted {
			look(t, c, u.ID, 2)
		}
		warm(t, c, u.ID, 2)
	})
}

// Nobody gets what another has read from the store before the machine was suspended.
func TestMachineSuspendedDuringARead(t *testing.T) {
	t.Parallel()
	onBackends(t, func(t *testing.T, b *bundle) {
		m, u := new(machine), b.user(t)
		c := b.open(t, func(config *Config) { config.Now = m.now })
		read, release := make(chan struct{}, 10), make(chan struct{})
		hold := func(string) {
			read <- struct{}{}
			<-release
		}
		b.store.afterGet.Store(&hold)
		lookup := func() chan int64 {
			version := make(chan int64, 1)
			go func() {
				e, _ := c.Lookup(t.Context(), u.ID, Read{})
				version <- e.Version
			}()
			return version
		}
		before := lookup()
		<-read
		m.suspend(time.Hour)
		rename(t, b.store, u.ID, "two")
		after := lookup()
		select {
		case <-read:
		case <-time.After(10 * time.Second):
			t.Error("the store is not asked again")
		}
		close(release)
		<-before
		if version := <-after; version != 2 {
			t.Errorf("shown at version %d, as it was before the machine was suspended", version)
		}
	})
}

func TestClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := newClock(func() time.Time { return now })
	last := c.read()
	for _, step := range []struct {
		name         string
		passes, wall time.Duration // By how much the monotonic clock goes on, and the wall clock besides.
		want         time.Duration // By how much the clock does.
	}{
		{"time passes", time.Second, 0, time.Second},
		{"the machine is suspended", time.Second, time.Hour, time.Hour + time.Second},
		{"time passes after that", time.Second, 0, time.Second},
		{"the clocks seem apart", time.Second, time.Duration(jitter), time.Second},
		{"they are", time.Second, 1, time.Second + time.Duration(jitter) + 1},
		{"the wall clock is set back", time.Second, -24 * time.Hour, time.Second},
		{"the machine is suspended after that", time.Second, time.Minute, time.Minute + time.Second},
		{"nothing happens", 0, 0, 0},
	} {
		now = apart(now.Add(step.passes), step.wall)
		next := c.read()
		if by := time.Duration(next - last); by != step.want {
			t.Errorf("%s: the clock goes on by %v, want %v", step.name, by, step.want)
		}
		last = next
	}
}
