package gather

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/server/failure"
)

// deadlines records the write deadlines of a connection.
type deadlines struct {
	http.ResponseWriter
	mu  sync.Mutex
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(deadline time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set = append(d.set, deadline)
	return nil
}

func (d *deadlines) last() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.set[len(d.set)-1]
}

// stuckWriter takes a time for each write, and fails at the deadline.
type stuckWriter struct {
	*deadlines
	takes time.Duration
}

func (s *stuckWriter) Write(p []byte) (int, error) {
	deadline := s.last()
	if left := time.Until(deadline); left < s.takes {
		time.Sleep(left)
		return 0, fmt.Errorf("write: %w", os.ErrDeadlineExceeded)
	}
	time.Sleep(s.takes)
	return len(p), nil
}

func (*stuckWriter) FlushError() error { return nil }

// sendTimeout is how long a message may wait in these tests.
const sendTimeout = 30 * time.Second

func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &stuckWriter{deadlines: &deadlines{ResponseWriter: httptest.NewRecorder()}, takes: sendTimeout/renewals - 1}
		start := time.Now()
		handleStream(stuck, func(ctx context.Context, send func(string) error) {
			sendAndFlush := func() error { return errors.Join(send("message"), Flush(ctx)) }
			for range 20 { // A reader that is slow, but reads.
				if err := sendAndFlush(); err != nil {
					t.Fatal(err)
				}
			}
			if renewals := len(stuck.set); renewals != 10 {
				t.Errorf("deadline is set %d times in %v", renewals, time.Since(start))
			}
			stuck.takes = time.Hour
			start = time.Now()
			if err := sendAndFlush(); !errors.Is(err, failure.ErrSlowConsumer) {
				t.Errorf("error is %v, want %v", err, failure.ErrSlowConsumer)
			}
			if waited := time.Since(start); waited > patience*sendTimeout || waited <= patience*sendTimeout-sendTimeout/renewals {
				t.Errorf("stream ends after %v", waited)
			}
		})
	})
}

// A stream that has nothing to say for a while, as one of updates, goes on.
func TestDeadlineIsLiftedWhileNothingIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick := &stuckWriter{deadlines: &deadlines{ResponseWriter: httptest.NewRecorder()}}
		expired := func() bool {
			last := quick.last()
			return !last.IsZero() && !last.After(time.Now())
		}
		handleStream(quick, func(ctx context.Context, send func(string) error) {
			for _, pause := range []time.Duration{time.Second, sendTimeout, time.Second, 10 * sendTimeout} {
				if err := errors.Join(send("message"), Flush(ctx)); err != nil {
					t.Fatal(err)
				}
				if quick.last().IsZero() {
					t.Error("a message is sent without a deadline")
				}
				time.Sleep(pause)
				synctest.Wait()
				if expired() {
					t.Errorf("after %v without a message the deadline has passed", pause)
				}
			}
			quick.takes = sendTimeout - time.Second // Sent shortly before the deadline.
			if err := errors.Join(send("message"), Flush(ctx)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(sendTimeout)
			synctest.Wait()
			if expired() {
				t.Error("after a slow message the deadline has passed")
			}
		})
	})
}
