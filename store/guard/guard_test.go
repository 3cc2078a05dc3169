package guard_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/example/userd/store/guard"
)

func TestCallReturnsPanics(t *testing.T) {
	t.Parallel()
	before := guard.Panics()
	_, err := guard.Call(func() (int, error) { panic("the disk is full") })
	panicked := new(guard.PanicError)
	if !errors.As(err, &panicked) || panicked.Cause != "the disk is full" || !strings.Contains(err.Error(), "guard_test.go") {
		t.Errorf("error is %v", err)
	}
	if guard.Panics() == before {
		t.Error("the panic is not counted")
	}
	if value, err := guard.Call(func() (int, error) { return 1, errors.ErrUnsupported }); value != 1 || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("value %d, error %v", value, err)
	}
}

func TestLoopIsStartedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		runs := 0
		guard.Loop(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), "count", func() {
			if runs++; runs < 3 {
				panic("not yet")
			}
		})
		if runs != 3 || strings.Count(log.String(), "task=count") != 2 {
			t.Errorf("it ran %d times, and the log is:\n%s", runs, &log)
		}
		ctx, cancel := context.WithCancel(t.Context())
		guard.Loop(ctx, slog.New(slog.DiscardHandler), "end", func() {
			cancel()
			panic("the last time")
		})
	})
}
