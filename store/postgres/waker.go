package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
	"github.com/example/userd/store/wait"
)

// waker ends the waits for changes: at once after a commit of this process, on a
// notification from another one, and whenever a look at the head of the log, every
// interval, finds it moved. The looks are the truth; notifications only make them
// early, and may be lost.
type waker struct {
	store    *Store
	interval time.Duration
	stop     context.CancelFunc
	done     sync.WaitGroup
	tell     chan struct{} // Has an element when other processes are to be notified.
	room     *wait.Room
}

const (
	defaultPollInterval = 100 * time.Millisecond
	pollTimeout         = 5 * time.Second
	// notifyInterval is the least time between two notifications: committing one
	// takes a lock that all sessions of the server share.
	notifyInterval = 10 * time.Millisecond
	// listenRetry is the time from losing the listening connection to the next try.
	listenRetry = time.Second
)

func newWaker(s *Store, interval time.Duration) *waker {
	if interval == 0 {
		interval = defaultPollInterval
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &waker{store: s, interval: interval, stop: stop, tell: make(chan struct{}, 1), room: wait.NewRoom()}
	for name, loop := range map[string]func(context.Context){"poll": w.poll, "listen": w.listen, "notify": w.notify} {
		w.done.Go(func() { guard.Loop(ctx, s.log, name, func() { loop(ctx) }) })
	}
	return w
}

// close ends the goroutines and lets nobody wait any longer. Closing twice is fine.
func (w *waker) close() {
	w.stop()
	w.done.Wait()
	w.room.Close()
}

// committed is called after a commit of this process.
func (w *waker) committed() {
	w.room.Wake()
	select {
	case w.tell <- struct{}{}:
	default:
	}
}

// poll looks at the head of the log while somebody waits. When it cannot be read
// the waits end too, so that whoever waits learns why from its next call.
func (w *waker) poll(ctx context.Context) {
	var last store.Cursor
	for pause(ctx, w.interval) {
		if !w.room.Occupied() {
			continue
		}
		head, err := w.head(ctx)
		if err != nil || head != last {
			last = head
			w.room.Wake()
		}
	}
}

func (w *waker) head(ctx context.Context) (store.Cursor, error) {
	ctx, cancel := context.WithTimeout(store.Vital(ctx), pollTimeout)
	defer cancel()
	return w.store.Head(ctx)
}

// listen ends the waits on notifications of other processes. They do not arrive
// through a connection pooler.
func (w *waker) listen(ctx context.Context) {
	for {
		if w.store.sessions.pooled.Load() {
			w.store.log.InfoContext(ctx, "connected through a connection pooler: looking for the changes of other servers instead of being notified", "interval_ms", w.interval.Milliseconds())
			return
		}
		err := w.listenOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		w.store.log.DebugContext(ctx, "not listening for notifications", "error", err)
		if !pause(ctx, listenRetry) {
			return
		}
	}
}

func (w *waker) listenOnce(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, w.store.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `listen userd_changes`); err != nil {
		return err
	}
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
		w.room.Wake()
	}
}

// notify tells other processes of commits, outside their transactions.
func (w *waker) notify(ctx context.Context) {
	for {
		select {
		case <-w.tell:
		case <-ctx.Done():
			return
		}
		if _, err := w.store.vital.Exec(ctx, `notify userd_changes`); err != nil && ctx.Err() == nil {
			w.store.log.DebugContext(ctx, "notify of changes", "error", err)
		}
		if !pause(ctx, notifyInterval) {
			return
		}
	}
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
