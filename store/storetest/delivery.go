package storetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/example/userd/store"
)

// Delivery measures how long after a write of one store another one on the same
// database, or the same, has its change, with nothing else going on. It logs the
// times, and fails when a change does not come.
func Delivery(t *testing.T, writer, reader store.Store) {
	const writes = 300
	delays := make([]time.Duration, 0, writes)
	cursor, err := reader.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ticker := time.NewTicker(7 * time.Millisecond) // Out of step with all polling.
	defer ticker.Stop()
	for range writes {
		<-ticker.C
		var seen time.Time
		read := make(chan error, 1)
		go func() { seen, cursor, err = nextChange(t.Context(), reader, cursor); read <- err }()
		if _, err := writer.Create(t.Context(), newUser()); err != nil {
			t.Fatal(err)
		}
		written := time.Now()
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		delays = append(delays, max(0, seen.Sub(written)))
	}
	slices.Sort(delays)
	t.Logf("a change is there after: p50 %v, p99 %v, max %v", delays[writes/2], delays[writes*99/100], delays[writes-1])
}

// nextChange waits for a change after a cursor, and returns when it was there and the
// cursor after it.
func nextChange(ctx context.Context, s store.Store, after store.Cursor) (time.Time, store.Cursor, error) {
	for {
		changes, next, err := s.Changes(ctx, after, 10)
		if err != nil || len(changes) > 0 {
			return time.Now(), next, err
		}
		if err := s.Wait(ctx, next); err != nil {
			return time.Time{}, next, err
		}
		after = next
	}
}
