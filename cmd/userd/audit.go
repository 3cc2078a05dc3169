package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/example/userd/server/audit"
)

// auditPatience is how long lines of the audit log wait for whoever reads the log, before
// that counts as a failure and they are tried again.
const auditPatience = time.Second

// auditLog is the log of writes, or nil for none.
func (p *program) auditLog(stderr *output) (*audit.Log, error) {
	to := p.config.auditLog
	if to == "auto" {
		to = "none"
		if p.knowsCallers() {
			to = "log"
		}
	}
	config := audit.Config{Required: p.auditRequired, Logger: p.logger, Registry: p.registry, Now: time.Now}
	switch to {
	case "none":
		return nil, nil
	case "log":
		config.Output = &auditToLog{stderr: stderr}
		config.Handler = func(buffer *bytes.Buffer) slog.Handler { return p.handler(buffer, slog.LevelInfo) }
	default:
		file, err := audit.OpenFile(to)
		if err != nil {
			return nil, fmt.Errorf("--audit-log: %w", err)
		}
		config.Output, config.Handler = file, auditLines
	}
	return audit.New(config), nil
}

// auditLines are lines of JSON without what is the same in all.
func auditLines(buffer *bytes.Buffer) slog.Handler {
	return slog.NewJSONHandler(buffer, &slog.HandlerOptions{ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
		if attr.Key == slog.LevelKey || attr.Key == slog.MessageKey {
			return slog.Attr{}
		}
		return attr
	}})
}

// auditToLog writes the audit log among the lines of the log, whatever its level.
type auditToLog struct {
	stderr *output
	done   <-chan error // Of lines that the log has taken, but has not written yet; else nil.
}

// Write implements audit.Output. Lines that the log has taken and not written in time come
// again, and are not given to it a second time.
func (l *auditToLog) Write(lines []byte) (err error) {
	timer := time.NewTimer(auditPatience)
	defer timer.Stop()
	if l.done == nil {
		if l.done, err = l.stderr.deliver(lines, timer.C); err != nil {
			return err
		}
	}
	select {
	case err := <-l.done:
		l.done = nil
		return err
	case <-timer.C:
		return errNotRead
	}
}

// Reopen implements audit.Output.
func (*auditToLog) Reopen() error { return errors.ErrUnsupported }

// Close implements audit.Output.
func (*auditToLog) Close() error { return nil }
