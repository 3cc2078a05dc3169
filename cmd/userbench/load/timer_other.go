//go:build !linux

package load

import "time"

// timer sleeps as well as the runtime does.
type timer struct{}

func newTimer() (*timer, error) { return &timer{}, nil }

func (t *timer) sleep(d time.Duration) error {
	time.Sleep(d)
	return nil
}

func (t *timer) close() {}
