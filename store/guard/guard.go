// Package guard keeps a panic in a goroutine from ending the process. Interceptors
// recover those of the goroutines that calls run in; this is for all others.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// restartDelay is the time from a panic of a loop to its next run.
const restartDelay = time.Second

var panics atomic.Int64

// Panics returns how many panics this package has recovered in this process.
func Panics() int64 { return panics.Load() }

// PanicError is a panic as an error.
type PanicError struct {
	Cause any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Cause, e.Stack) }

// Recover is to be deferred by a function whose error is err. It turns a panic of the
// function into a PanicError.
func Recover(err *error) {
	if cause := recover(); cause != nil {
		*err = Caught(cause)
	}
}

// Caught counts a panic whose cause a caller has recovered by itself, and returns it as an
// error.
func Caught(cause any) *PanicError {
	panics.Add(1)
	return &PanicError{Cause: cause, Stack: debug.Stack()}
}

// Timer is time.AfterFunc for a function that must not end the process. Its panics are
// counted; nobody waits for them.
func Timer(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { _ = Run(f) })
}

// Run runs f and returns its panic.
func Run(f func()) (err error) {
	defer Recover(&err)
	f()
	return nil
}

// Call returns what f returns, or its panic.
func Call[T any](f func() (T, error)) (value T, err error) {
	defer Recover(&err)
	return f()
}

// Loop runs f. When f panics, Loop logs that and runs it again after a second, until
// ctx ends.
func Loop(ctx context.Context, logger *slog.Logger, name string, f func()) {
	for {
		err := Run(f)
		if err == nil {
			return
		}
		logger.ErrorContext(ctx, "a background task panicked and is started again", "task", name, "cause", err.Error())
		select {
		case <-time.After(restartDelay):
		case <-ctx.Done():
			return
		}
	}
}
