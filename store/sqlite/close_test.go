package sqlite_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

func TestClosingTwiceIsFine(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	mustClose(t, s)
	mustClose(t, s)
}

func TestAClosedStoreIsUnavailable(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	user, head := mustCreate(t, s), mustHead(t, s)
	mustClose(t, s)
	_, createErr := s.Create(t.Context(), newUser())
	_, getErr := s.Get(t.Context(), user.ID)
	_, _, changesErr := s.Changes(t.Context(), head, 1)
	_, pruneErr := s.Prune(t.Context(), time.Now())
	for name, err := range map[string]error{
		"Create": createErr, "Get": getErr, "Changes": changesErr, "Prune": pruneErr,
		"Wait": s.Wait(t.Context(), head), "Ping": s.Ping(t.Context()),
	} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestCloseEndsWait(t *testing.T) {
	t.Parallel()
	for range 10 {
		s := open(t, sqlite.Config{Path: newPath(t), Readers: 1, PollInterval: time.Hour})
		head := mustHead(t, s)
		ended := make(chan error, 1)
		go func() {
			for {
				if err := s.Wait(t.Context(), head); err != nil {
					ended <- err
					return
				}
			}
		}()
		mustClose(t, s)
		if err := <-ended; !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("wait ended with %v", err)
		}
	}
}

// What was accepted before Close is stored; what came later is refused. Nothing is
// in between.
func TestCloseWaitsForWritesUnderWay(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	var mu sync.Mutex
	acknowledged := make(map[string]bool)
	enough := make(chan struct{})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				user, err := s.Create(context.Background(), newUser())
				if err != nil {
					if !errors.Is(err, store.ErrUnavailable) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				acknowledged[user.ID] = true
				if len(acknowledged) == 50 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	mustClose(t, s)
	group.Wait()
	again := openPath(t, path)
	if stored := allIDs(t, again); len(stored) != len(acknowledged) {
		t.Errorf("%d users are stored, %d were acknowledged", len(stored), len(acknowledged))
	}
	checkLog(t, again)
}

// A file of a store that is closed is all of it: it can be copied by itself.
func TestCloseLeavesOneFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	mustCreate(t, s)
	mustHead(t, s) // Uses a connection that can only read.
	mustClose(t, s)
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", suffix, err)
		}
	}
}
