package server

import (
	"context"
	"testing"
)

// A watcher that leaves while it looks for all of them is no reason to say that the server does
// not serve.
func TestHealthIsNotThatOfAWatcher(t *testing.T) {
	t.Parallel()
	h := &health{isReady: func(ctx context.Context) error { return ctx.Err() }}
	leaving, leave := context.WithCancel(t.Context())
	leave()
	for _, ctx := range []context.Context{leaving, t.Context()} {
		if status := h.recent(ctx); status != serving {
			t.Errorf("the status is %d, want %d", status, serving)
		}
	}
}
