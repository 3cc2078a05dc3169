package sqlite

import (
	"log/slog"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store/guard"
	"github.com/example/userd/store/wait"
)

// waker tells those who wait that something was committed: at once by the writer
// of this process, by polling where another process has done it.
type waker struct {
	conn   *sqlite.Conn // Polls.
	logger *slog.Logger
	room   *wait.Room
	stop   chan struct{}
	done   chan error // Gets the goroutine's last word.
}

// newWaker starts a waker.
func newWaker(config Config) (*waker, error) {
	conn, err := connect(config.Path, sqlite.OpenReadOnly)
	if err != nil {
		return nil, err
	}
	w := &waker{
		conn: conn, logger: config.Logger, stop: make(chan struct{}), done: make(chan error, 1),
		room: wait.NewRoom(),
	}
	go func() { w.done <- w.poll(config.PollInterval) }()
	return w, nil
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
		if !w.room.Occupied() {
			continue
		}
		version, err := guard.Call(func() (int64, error) { return scalar(w.conn, `pragma data_version`) })
		if err != nil {
			w.logger.Warn("cannot look for changes of other processes", "error", err)
		}
		if version != last {
			last = version
			w.room.Wake()
		}
	}
}

// close ends the polling and lets nobody wait any longer. Closing twice is fine.
func (w *waker) close() error {
	if !w.room.Close() {
		return nil
	}
	close(w.stop)
	return <-w.done
}
