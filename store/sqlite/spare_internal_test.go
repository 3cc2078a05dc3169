package sqlite

import (
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/store"
)

func TestStoreTellsSpareProcessorOfWork(t *testing.T) {
	spareProcessor = spare{period: 1000 * time.Hour} // Which is never much at work.
	defer func() { spareProcessor = spare{period: time.Second} }()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "users.db"), SpareProcessor: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	worked := func() time.Duration {
		spareProcessor.mu.Lock()
		defer spareProcessor.mu.Unlock()
		return spareProcessor.work
	}
	ada := store.NewUser{ID: "018f2b6e-7d50-7c3a-9c4e-1f2a3b4c5d6e", Email: "ada@example.com", DisplayName: "Ada"}
	for _, work := range []struct {
		name string
		do   func() error
	}{
		{"write", func() error { _, err := s.Create(t.Context(), ada); return err }},
		{"read", func() error { _, err := s.Get(t.Context(), ada.ID); return err }},
		{"step of the index of names", func() error { _, err := s.names.step(time.Second); return err }},
	} {
		before := worked()
		if err := work.do(); err != nil {
			t.Fatal(err)
		}
		if worked() == before {
			t.Errorf("a %s does not count as work", work.name)
		}
	}
}

func TestSpareProcessorIsThereWhileThereIsMuchWork(t *testing.T) {
	defer runtime.SetDefaultGOMAXPROCS()
	runtime.SetDefaultGOMAXPROCS()
	without := runtime.GOMAXPROCS(0)
	synctest.Test(t, func(t *testing.T) {
		s := spare{period: time.Second}
		// expect works for a part of each of several periods, and looks how many processors there are.
		expect := func(part time.Duration, processors int) {
			t.Helper()
			for range 5 * 50 {
				began := time.Now()
				time.Sleep(part)
				s.worked(began)
				time.Sleep(20*time.Millisecond - part)
			}
			synctest.Wait()
			if n := runtime.GOMAXPROCS(0); n != processors || s.processors() != without {
				t.Errorf("worked %v of 20 ms: GOMAXPROCS %d, and %d without the spare one, want %d and %d", part, n, s.processors(), processors, without)
			}
		}
		for range 2 {
			expect(time.Millisecond, without)
			expect(4*time.Millisecond, without+1)
			expect(20*time.Millisecond, without+1)
		}
		expect(0, without)

		expect(4*time.Millisecond, without+1)
		runtime.GOMAXPROCS(without + 3) // By somebody else.
		time.Sleep(10 * s.period)
		synctest.Wait()
		if n := runtime.GOMAXPROCS(0); n != without+3 {
			t.Errorf("GOMAXPROCS %d, want it as somebody else has set it: %d", n, without+3)
		}
	})
}
