package telemetry

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A clock that is set back does not keep lines from the log.
func TestLinesWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	l := newCallLog(prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	now := time.Now().Round(0) // As the clock shows it.
	for range linesAtOnce {
		l.take(now)
	}
	now = now.Add(-time.Hour)
	for range linesAtOnce {
		l.take(now)
	}
	if !l.take(now.Add(lineEvery)) {
		t.Error("after the clock was set back there are no lines")
	}
}
