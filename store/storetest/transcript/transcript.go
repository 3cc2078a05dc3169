// Package transcript keeps what programs and servers under test log.
package transcript

import (
	"log/slog"
	"strings"
	"sync"
)

// Log keeps what is written to it, to be read while that goes on. The zero value is empty.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Logger returns one that writes lines of text of all levels to the log.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
