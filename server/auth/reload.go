package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/auth/jwk"
	"github.com/example/userd/server/regular"
)

// pollInterval is how often the file is looked at. A token that is removed from it must not be
// good for a second more, and a change counts at the second look only.
const pollInterval = 250 * time.Millisecond

// reading is a look at the file.
type reading struct {
	text string
	err  error
}

// readFile looks at the file.
func readFile(path string) reading {
	text, err := regular.Read(path)
	return reading{text: text, err: err}
}

// same reports whether two looks have seen the same.
func (r reading) same(other reading) bool {
	return r.text == other.text && fmt.Sprint(r.err) == fmt.Sprint(other.err)
}

// source is a file that is read again when it changes.
type source struct {
	name, path string
	logger     *slog.Logger
	broken     prometheus.Gauge
	apply      func(text string) (entries int, err error) // Uses what it says.

	reading sync.Mutex
	read    reading // The last look at it.
	settled bool    // What it says is used, or it is broken.
}

// open reads it for the first time.
func (s *source) open() error {
	s.read, s.settled = readFile(s.path), true
	_, err := s.use()
	return err
}

// use uses what it said at the last look.
func (s *source) use() (entries int, err error) {
	if s.read.err != nil {
		return 0, s.read.err
	}
	if entries, err = s.apply(s.read.text); err != nil {
		return 0, fmt.Errorf("%s: %w", s.path, err)
	}
	return entries, nil
}

// look reads it. What has changed counts when it is read the same way twice: it may be in
// the middle of being written. Times and sizes are not looked at, since there are changes
// that leave both alone.
func (s *source) look() {
	s.reading.Lock()
	defer s.reading.Unlock()
	seen := readFile(s.path)
	switch {
	case !seen.same(s.read):
		s.read, s.settled = seen, false
	case !s.settled:
		s.settled = true
		_ = s.change() // It is in the log.
	}
}

// reload reads it now.
func (s *source) reload() error {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.read, s.settled = readFile(s.path), true
	return s.change()
}

// change uses what it said at the last look, and says so. s.reading is held.
func (s *source) change() error {
	entries, err := s.use()
	if err != nil {
		s.broken.Set(1)
		s.logger.Error(s.name+" is broken; what it said before stays", "error", err)
		return err
	}
	s.broken.Set(0)
	s.logger.Info("read "+s.name+" again", "entries", entries)
	return nil
}

// Watch reads the files again when they have changed, until ctx ends.
func (a *Authorizer) Watch(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { a.clock.run(ctx) })
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

// WatchIssuer fetches the keys again from time to time, until ctx ends. Where they are in a
// file, or not at all, it has nothing to do.
func (a *Authorizer) WatchIssuer(ctx context.Context) {
	if a.issuer != nil {
		a.issuer.watch(ctx)
	}
}

func (a *Authorizer) look() {
	for _, file := range a.files {
		file.look()
	}
}

// Reload reads files and keys now. What is broken stays as it was.
func (a *Authorizer) Reload() error {
	var errs []error
	for _, file := range a.files {
		errs = append(errs, file.reload())
	}
	if a.issuer != nil {
		a.issuer.fetchNow(context.Background())
	}
	return errors.Join(errs...)
}

// usePrincipals lets in those of a file.
func (a *Authorizer) usePrincipals(text string) (int, error) {
	known, err := parse(text)
	if err != nil {
		return 0, err
	}
	a.change(func(c *callers) { c.principals = known })
	return len(known.byToken) + len(known.byName), nil
}

// useKeys lets in those with a JWT that one of these keys has signed.
func (a *Authorizer) useKeys(text string) (int, error) {
	keys, err := jwk.Parse(text)
	if err != nil {
		return 0, err
	}
	a.change(func(c *callers) { c.keys = &keySet{Set: keys} })
	return keys.Len(), nil
}

// takeKeys takes the keys that were fetched from the issuer, or why they were not.
func (a *Authorizer) takeKeys(text string, err error) error {
	var keys *jwk.Set
	if err == nil {
		keys, err = jwk.Parse(text)
	}
	if err != nil {
		a.metrics.brokenKeys.Set(1)
		a.logger.Error("the keys of JWT cannot be fetched; those of before stay, if there are any", "error", err)
		return err
	}
	a.metrics.brokenKeys.Set(0)
	if before := a.callers.Load().keys; before == nil || !before.Same(keys) {
		a.change(func(c *callers) { c.keys = &keySet{Set: keys} })
		a.logger.Info("fetched keys of JWT", "keys", keys.Len())
	}
	return nil
}

// change makes those who are known others, and ends the streams of who is not known any
// more.
func (a *Authorizer) change(how func(*callers)) {
	a.changing.Lock()
	next := *a.callers.Load()
	how(&next)
	a.callers.Store(&next)
	a.changing.Unlock()
	a.endStreams()
}
