package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// pollInterval is how often the file is looked at. A token that is removed from it must
	// not be good for a second more, and a change counts at the second look only.
	pollInterval = 250 * time.Millisecond
	// maxFileBytes is more than a file has.
	maxFileBytes = 4 << 20
)

// reading is a look at the file.
type reading struct {
	path, text string
	err        error
}

func readFile(path string) reading {
	file, err := os.Open(path)
	if err != nil {
		return reading{path: path, err: err}
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err == nil && len(text) > maxFileBytes {
		err = errors.New("it is larger than 4 MiB")
	}
	return reading{path: path, text: string(text), err: err}
}

// parse returns the principals, or what is wrong with the file.
func (r reading) parse() (*principals, error) {
	if r.err != nil {
		return nil, r.err
	}
	known, err := parse(r.text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.path, err)
	}
	return known, nil
}

// same reports whether two looks have seen the same.
func (r reading) same(other reading) bool {
	return r.text == other.text && fmt.Sprint(r.err) == fmt.Sprint(other.err)
}

// Watch reads the file again when it has changed, until ctx ends.
func (a *Authorizer) Watch(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			a.look()
		case <-ctx.Done():
			return
		}
	}
}

// look reads the file. What has changed counts when it is read the same way twice: it may
// be in the middle of being written. Times and sizes are not looked at, since there are
// changes that leave both alone.
func (a *Authorizer) look() {
	a.reading.Lock()
	defer a.reading.Unlock()
	seen := readFile(a.file)
	switch {
	case !seen.same(a.read):
		a.read, a.settled = seen, false
	case !a.settled:
		a.settled = true
		_ = a.apply() // It is in the log.
	}
}

// Reload reads the file now. When it is broken, the principals stay as they are.
func (a *Authorizer) Reload() error {
	a.reading.Lock()
	defer a.reading.Unlock()
	a.read, a.settled = readFile(a.file), true
	return a.apply()
}

// apply makes the principals those of the last look. a.reading is held.
func (a *Authorizer) apply() error {
	known, err := a.read.parse()
	if err != nil {
		a.metrics.broken.Set(1)
		a.logger.Error("the file of principals is broken; those of before stay", "error", err)
		return err
	}
	a.metrics.broken.Set(0)
	a.principals.Store(known)
	a.endStreams()
	a.logger.Info("read the file of principals again", "credentials", len(known.byToken)+len(known.byName))
	return nil
}
