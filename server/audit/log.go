package audit

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/telemetry"
)

// maxWaiting is the most lines that wait to be written: two imports, and some 15 MB.
const maxWaiting = 200_000

// Write is what was done to a user.
type Write struct {
	UserID  string
	Version int64 // After it.
	Changed bool  // Before it the version was one less, else the same.
}

// Output takes lines.
type Output interface {
	// Write takes whole lines, all or none of them: what it returns an error for comes
	// again. It may take its time.
	Write(lines []byte) error
	// Reopen is for outputs that may have been moved away; others return
	// errors.ErrUnsupported.
	Reopen() error
	Close() error
}

// Config says how a Log writes. All must be set but Required.
type Config struct {
	Output Output
	// Handler makes the lines of records, and writes them where it is told.
	Handler func(*bytes.Buffer) slog.Handler
	// Required makes Ready false while lines cannot be written.
	Required bool
	// Logger takes what is wrong with the output.
	Logger *slog.Logger
	// Registry takes the metrics.
	Registry prometheus.Registerer
	// Now is the clock.
	Now func() time.Time
}

// Log writes lines. All methods of a nil Log do nothing.
type Log struct {
	config    Config
	failing   atomic.Bool
	reopening atomic.Bool // That was asked for.

	written, lost, failed atomic.Int64

	wake chan struct{} // Has an element when there is something to do.
	done chan struct{} // Closed when the writer has ended.

	mu      sync.Mutex
	waiting []batch
	count   int // Lines of waiting, and of what is being written.
	closed  bool
}

// batch is what one call has written at a time.
type batch struct {
	when   time.Time
	common []slog.Attr
	writes []Write
}

// New starts a Log. Whoever starts it must close it.
func New(config Config) *Log {
	l := &Log{config: config, wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.register(config.Registry)
	w := &writer{log: l}
	w.handler = config.Handler(&w.lines)
	go w.run()
	return l
}

// Record writes lines for what a call has written, later: it waits for nothing, and keeps
// writes.
func (l *Log) Record(ctx context.Context, writes ...Write) {
	if l == nil || len(writes) == 0 {
		return
	}
	next := batch{when: l.config.Now(), common: commonOf(ctx), writes: writes}
	l.mu.Lock()
	room := max(maxWaiting-l.count, 0)
	if l.closed {
		room = 0
	}
	if room < len(writes) {
		l.lost.Add(int64(len(writes) - room))
		next.writes = writes[:room]
	}
	if len(next.writes) > 0 {
		l.waiting = append(l.waiting, next)
		l.count += len(next.writes)
	}
	l.mu.Unlock()
	l.signal()
}

// commonOf is what the lines of a call have in common.
func commonOf(ctx context.Context) []slog.Attr {
	attrs := make([]slog.Attr, 0, 5)
	if principal := auth.PrincipalOf(ctx); principal != nil {
		attrs = append(attrs, slog.String("principal", principal.Name), slog.String("credential", principal.Credential))
	}
	if call, ok := connect.CallInfoForServerContext(ctx); ok {
		attrs = append(attrs, slog.String("procedure", telemetry.MethodName(call.Spec.Procedure)))
		if id := telemetry.RequestID(call); id != "" {
			attrs = append(attrs, slog.String("request_id", id))
		}
		attrs = append(attrs, slog.String("address", call.PeerAddr))
	}
	return attrs
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // It is awake already.
	}
}

// Ready reports whether lines can be written, or need not be.
func (l *Log) Ready() bool { return l == nil || !l.config.Required || !l.failing.Load() }

// Reopen has the output opened anew, before the next line.
func (l *Log) Reopen() {
	if l == nil {
		return
	}
	l.reopening.Store(true)
	l.signal()
}

// Close writes what waits, if that can be written, and returns when the writer has ended.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	<-l.done
	return l.config.Output.Close()
}

// take takes what waits.
func (l *Log) take() (batches []batch, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	batches, l.waiting = l.waiting, nil
	return batches, l.closed
}

// leave is that lines do not wait any more.
func (l *Log) leave(count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count -= count
}

// outcome notes how an attempt to write has ended, and says when that is another way than
// before.
func (l *Log) outcome(err error) {
	if err != nil {
		l.failed.Add(1)
	}
	switch failing := l.failing.Swap(err != nil); {
	case err != nil && !failing:
		l.config.Logger.Error("the audit log cannot be written; its lines wait", "error", err)
	case err == nil && failing:
		l.config.Logger.Info("the audit log is written again")
	}
}

// pause waits between two attempts to write. It returns false when the Log is closed.
func (l *Log) pause() bool {
	timer := time.NewTimer(retryInterval)
	defer timer.Stop()
	defer l.signal() // Whatever has woken it is to be done.
	for {
		l.mu.Lock()
		closed := l.closed
		l.mu.Unlock()
		if closed || l.reopening.Load() {
			return !closed
		}
		select {
		case <-timer.C:
			return true
		case <-l.wake:
		}
	}
}

func (l *Log) register(registry prometheus.Registerer) {
	for _, c := range []struct {
		name, help string
		count      *atomic.Int64
	}{
		{"userd_audit_lines_total", "Lines written to the audit log.", &l.written},
		{"userd_audit_lines_lost_total", "Lines of the audit log that were not written, since too many waited for it.", &l.lost},
		{"userd_audit_write_failures_total", "Attempts to write to the audit log that have failed.", &l.failed},
	} {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: c.name, Help: c.help}, func() float64 { return float64(c.count.Load()) }))
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "userd_audit_lines_waiting", Help: "Lines that wait to be written to the audit log.",
	}, func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return float64(l.count)
	}))
}
