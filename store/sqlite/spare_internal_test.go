package sqlite

import (
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/store"
)

func TestWorkUsesSpareProcessor(t *testing.T) {
	spareProcessor = spare{stay: time.Hour}
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "users.db"), SpareProcessor: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		s.Close()
		for spareProcessor.processors() == runtime.GOMAXPROCS(0) { // It is about to come.
			runtime.Gosched()
		}
		runtime.SetDefaultGOMAXPROCS()
		spareProcessor = spare{stay: spareTime}
	}()
	ada := store.NewUser{ID: "018f2b6e-7d50-7c3a-9c4e-1f2a3b4c5d6e", Email: "ada@example.com", DisplayName: "Ada"}
	for _, work := range []struct {
		name string
		do   func() error
	}{
		{"write", func() error { _, err := s.Create(t.Context(), ada); return err }},
		{"read", func() error { _, err := s.Get(t.Context(), ada.ID); return err }},
		{"step of the index of names", func() error { _, err := s.names.step(time.Second); return err }},
	} {
		spareProcessor.used.Store(false)
		if err := work.do(); err != nil {
			t.Fatal(err)
		}
		if !spareProcessor.used.Load() {
			t.Errorf("a %s does not use the spare processor", work.name)
		}
	}
}

func TestSpareProcessorStaysWhileThereIsWork(t *testing.T) {
	defer runtime.SetDefaultGOMAXPROCS()
	runtime.SetDefaultGOMAXPROCS()
	synctest.Test(t, func(t *testing.T) {
		without := runtime.GOMAXPROCS(0)
		s := spare{stay: time.Second}
		for range 3 {
			for range 10 {
				s.use()
				synctest.Wait()
				if n := runtime.GOMAXPROCS(0); n != without+1 || s.processors() != without {
					t.Fatalf("in use: GOMAXPROCS %d, processors %d, want %d and %d", n, s.processors(), without+1, without)
				}
				time.Sleep(s.stay - 1)
			}
			time.Sleep(2 * s.stay)
			synctest.Wait()
			if n := runtime.GOMAXPROCS(0); n != without || s.processors() != without {
				t.Errorf("without work: GOMAXPROCS %d, processors %d, want %d", n, s.processors(), without)
			}
		}
		s.use()
		synctest.Wait()
		runtime.GOMAXPROCS(without + 3)
		time.Sleep(3 * s.stay)
		synctest.Wait()
		if n := runtime.GOMAXPROCS(0); n != without+3 {
			t.Errorf("GOMAXPROCS %d, want it as somebody else has set it: %d", n, without+3)
		}
	})
}
