package sqlite

import (
	"log/slog"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store/guard"
)

// waker tells those who wait that something was committed: at once by the writer
// of this process, by polling where another process has done it.
type waker struct {
	conn   *sqlite.Conn // Polls.
	logger *slog.Logger
	stop   chan struct{}
	done   chan error // Gets the goroutine's last word.

	mu      sync.Mutex
	changed chan struct{} // Closed at the next change.
	waiting int
	closed  bool
}

// newWaker starts a waker.
func newWaker(config Config) (*waker, error) {
	conn, err := connect(config.Path, sqlite.OpenReadOnly)
	if err != nil {
		return nil, err
	}
	w := &waker{
		conn: conn, logger: config.Logger, stop: make(chan struct{}), done: make(chan error, 1),
		changed: make(chan struct{}),
	}
	go func() { w.done <- w.poll(config.PollInterval) }()
	return w, nil
}

// enter returns a channel that is closed at the next change. Whoever enters must
// leave. After close the channel is closed.
func (w *waker) enter() (changed <-chan struct{}, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting++
	return w.changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waiting--
	}
}

func (w *waker) broadcast() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting > 0 && !w.closed {
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

func (w *waker) anybodyWaits() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting > 0
}

// poll looks for commits of others while anybody waits.
func (w *waker) poll(interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last int64
	for {
		select {
		case <-ticker.C:
		case <-w.stop:
			return w.conn.Close()
		}
		if !w.anybodyWaits() {
			continue
		}
		version, err := guard.Call(func() (int64, error) { return scalar(w.conn, `pragma data_version`) })
		if err != nil {
			w.logger.Warn("cannot look for changes of other processes", "error", err)
		}
		if version != last {
			last = version
			w.broadcast()
		}
	}
}

// close ends the polling and lets nobody wait any longer. Closing twice is fine.
func (w *waker) close() error {
	if !w.release() {
		return nil
	}
	close(w.stop)
	return <-w.done
}

// release lets nobody wait any longer, and reports whether anybody could.
func (w *waker) release() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.closed = true
	close(w.changed)
	return true
}
