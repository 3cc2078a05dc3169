package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		s, _ := openNew(t)
		return s
	})
}

// It has the database server to itself: it prunes what is seconds old, and a transaction of
// another test that is open for as long lets cursors expire (see expired).
func TestModel(t *testing.T) {
	storetest.RunModel(t, func(t *testing.T) store.Store {
		s, _ := openNew(t)
		return s
	})
}

func TestAClosedStoreIsUnavailable(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	user, head := mustCreate(t, s), mustHead(t, s)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
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
	_, url := openNew(t)
	for range 20 {
		s, err := postgres.Open(t.Context(), postgres.Config{URL: url, PollInterval: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
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
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("wait ended with %v", err)
		}
	}
}

func TestTheContextsErrorIsReturned(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user := mustCreate(t, s)
	hold := begin(t, connect(t, url))
	touchUser(t, hold, user.ID)
	ctx, cancel := context.WithCancel(t.Context())
	updated := make(chan error, 1)
	go func() {
		_, err := patiently(func() (store.Written, error) {
			return s.Update(ctx, store.Update{ID: user.ID, AddRoles: []string{"admin"}})
		})
		updated <- err
	}()
	awaitBlocked(t, url)
	cancel()
	if err := <-updated; !errors.Is(err, context.Canceled) {
		t.Fatalf("update: %v", err)
	}
	if err := hold.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}
