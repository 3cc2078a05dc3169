package audit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"
)

// retryInterval is the time between two attempts to write what could not be written.
const retryInterval = time.Second

// chunkLines is how many lines are written at a time.
const chunkLines = 256

// writer writes the lines of a Log, on the one goroutine that has it.
type writer struct {
	log     *Log
	handler slog.Handler
	lines   bytes.Buffer // Of the handler.
	count   int          // Of them.
	over    bool         // The Log was closed while the output did not take them.
}

// run writes lines until the Log is closed.
func (w *writer) run() {
	defer close(w.log.done)
	for range w.log.wake {
		batches, closed := w.log.take()
		w.reopen()
		for _, b := range batches {
			w.add(b)
		}
		w.flush()
		if closed {
			return
		}
	}
}

// before is the version before a write, 0 for none.
func (w Write) before() int64 {
	if w.Changed {
		return w.Version - 1
	}
	return w.Version
}

// add makes the lines of a batch, and writes those that are enough.
func (w *writer) add(b batch) {
	for _, write := range b.writes {
		record := slog.NewRecord(b.when, slog.LevelInfo, "audit", 0)
		record.AddAttrs(b.common...)
		record.AddAttrs(slog.String("user_id", write.UserID))
		if before := write.before(); before > 0 {
			record.AddAttrs(slog.Int64("version_before", before))
		}
		record.AddAttrs(slog.Int64("version", write.Version))
		_ = w.handler.Handle(context.Background(), record) // Memory takes all.
		if w.count++; w.count == chunkLines {
			w.flush()
		}
	}
}

// flush writes the lines that there are. What fails is tried again, until the Log is closed:
// then it is lost, and so is all that comes after it, for the output may have a part of it.
func (w *writer) flush() {
	for w.count > 0 && !w.over {
		err := w.log.config.Output.Write(w.lines.Bytes())
		w.log.outcome(err)
		switch {
		case err == nil:
			w.log.written.Add(int64(w.count))
			w.leave()
		case w.log.pause():
			w.reopen()
		default:
			w.over = true
		}
	}
	if w.over {
		w.log.lost.Add(int64(w.count))
		w.leave()
	}
}

// leave is that the lines do not wait any more.
func (w *writer) leave() {
	w.log.leave(w.count)
	w.lines.Reset()
	w.count = 0
}

// reopen opens the output anew if that was asked for.
func (w *writer) reopen() {
	if !w.log.reopening.Swap(false) {
		return
	}
	switch err := w.log.config.Output.Reopen(); {
	case err == nil:
		w.log.config.Logger.Info("the audit log is opened anew")
	case !errors.Is(err, errors.ErrUnsupported):
		w.log.config.Logger.Error("the audit log cannot be opened anew; that of before is written", "error", err)
	}
}
