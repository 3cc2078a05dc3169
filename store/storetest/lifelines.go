package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/example/userd/store"
)

// Lifelines checks that calls marked by store.Vital, and Ping, are answered while
// callers have all other connections, which hold makes them do until the test ends.
func Lifelines(t *testing.T, s store.Store, hold func()) {
	t.Helper()
	b := &bundle{T: t, Store: s}
	user := b.create(newUser())
	hold()
	bounded, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ctx, done := context.WithCancel(store.Vital(bounded)) // The mark outlives what is made of its context.
	defer done()
	_, getErr := s.Get(ctx, user.ID)
	_, manyErr := s.GetMany(ctx, []string{user.ID})
	_, headErr := s.Head(ctx)
	_, _, changesErr := s.Changes(ctx, store.Earliest, 10)
	_, atErr := s.At(ctx, time.Now())
	_, spanErr := s.Span(ctx)
	pruner := store.Pruner{Store: s, Retention: time.Hour}
	_, pruneErr := pruner.Prune(bounded)
	for name, err := range map[string]error{
		"Get": getErr, "GetMany": manyErr, "Head": headErr, "Changes": changesErr, "At": atErr, "Span": spanErr,
		"Wait": s.Wait(ctx, store.Earliest), "Ping": s.Ping(bounded), "Pruner.Prune": pruneErr,
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
