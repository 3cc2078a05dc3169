package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/example/userd/store"
)

// Drivers try a host with TLS and without, and tell of both.
func TestCauseTellsOfEachHostOnce(t *testing.T) {
	t.Parallel()
	err := store.Unavailable("nothing answers", errors.New("connect: one: refused\none: refused\ntwo: refused"))
	if got, want := err.Error(), "nothing answers: connect: one: refused two: refused"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCausesAreToldOnceInAWhile(t *testing.T) {
	t.Parallel()
	full := fmt.Errorf("create: %w", store.Unavailable("the disk is full: make room", errors.New("on\nhost one")))
	locked := store.TooLate("somebody holds a lock", nil)
	see := func(kind store.Call, err error) func(*store.Causes) {
		return func(causes *store.Causes) { causes.See(context.Background(), kind, err) }
	}
	wrote := func(causes *store.Causes) { causes.Wrote(context.Background()) }
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		causes := &store.Causes{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		for step, call := range []struct {
			after time.Duration
			see   func(*store.Causes)
			line  string
		}{
			{0, see(store.Reading, nil), ""},
			{0, see(store.Writing, store.ErrNotFound), ""},
			{0, see(store.Writing, store.ErrUnavailable), ""}, // Closed, such as.
			{0, see(store.Writing, full), `level=ERROR msg="store is unavailable" cause="the disk is full: make room: on host one"`},
			{9 * time.Second, see(store.Writing, full), ""},
			{0, see(store.Reading, nil), ""}, // What reads went well all the time.
			{0, see(store.Writing, locked), `level=WARN msg="store answers too late" cause="somebody holds a lock"`},
			{time.Second, see(store.Writing, full), `level=ERROR msg="store is unavailable" cause="the disk is full: make room: on host one"`},
			{0, see(store.Writing, nil), ""}, // There was nothing to write.
			{0, wrote, `level=INFO msg="store answers again"`},
			{0, wrote, ""},
		} {
			time.Sleep(call.after)
			log.Reset()
			call.see(causes)
			_, line, _ := strings.Cut(strings.TrimSpace(log.String()), " ") // Without the time.
			if line != call.line {
				t.Errorf("step %d: logged %q, want %q", step, line, call.line)
			}
		}
	})
}
