package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// tape is an Output that can be full.
type tape struct {
	mu       sync.Mutex
	lines    bytes.Buffer
	full     bool
	attempts int
	reopened int
	cannot   error  // Of Reopen.
	failed   []byte // Lines that it has not taken.
	others   int    // Attempts to write others then.
}

var errFull = errors.New("no space left")

func (o *tape) Write(lines []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failed) > 0 && !bytes.Equal(o.failed, lines) {
		o.others++
	}
	if o.attempts++; o.full {
		o.failed = bytes.Clone(lines)
		return errFull
	}
	o.failed = nil
	o.lines.Write(lines)
	return nil
}

func (o *tape) Reopen() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reopened++
	o.full = false
	return o.cannot
}

func (o *tape) Close() error { return nil }

func (o *tape) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Count(o.lines.Bytes(), []byte{'\n'})
}

func newLog(output Output) (*Log, *bytes.Buffer) {
	said := new(bytes.Buffer)
	return New(Config{
		Output: output, Required: true, Logger: slog.New(slog.NewTextHandler(said, nil)), Registry: prometheus.NewRegistry(), Now: time.Now,
		Handler: func(to *bytes.Buffer) slog.Handler { return slog.NewTextHandler(to, nil) },
	}), said
}

func TestLinesAreWrittenInOrder(t *testing.T) {
	t.Parallel()
	output := new(tape)
	l, _ := newLog(output)
	for i := range 3 * chunkLines {
		l.Record(t.Context(), Write{UserID: fmt.Sprint("user", i), Version: 1, Changed: true}, Write{UserID: "same", Version: 2, Changed: true})
	}
	l.Record(t.Context())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(output.lines.String()), "\n")
	if len(lines) != 6*chunkLines || !strings.HasSuffix(lines[4], "user_id=user2 version=1") || !strings.HasSuffix(lines[5], "user_id=same version_before=1 version=2") {
		t.Errorf("%d lines, such as %s", len(lines), lines[5])
	}
	if l.written.Load() != 6*chunkLines || l.lost.Load() != 0 || l.count != 0 {
		t.Errorf("%d written, %d lost, %d wait", l.written.Load(), l.lost.Load(), l.count)
	}
}

// A full disk is told, loses nothing as long as there is room, and is tried again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for name, mend := range map[string]func(*Log, *tape){
		"space":  func(_ *Log, output *tape) { output.mu.Lock(); output.full = false; output.mu.Unlock() },
		"reopen": func(l *Log, _ *tape) { l.Reopen() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				output := &tape{full: true}
				l, said := newLog(output)
				for range 5 {
					l.Record(t.Context(), Write{UserID: "user", Version: 1, Changed: true})
				}
				synctest.Wait()
				if l.Ready() || l.failed.Load() != 1 || !strings.Contains(said.String(), "no space left") {
					t.Errorf("ready %v, %d failures: %s", l.Ready(), l.failed.Load(), said)
				}
				mend(l, output)
				if name == "space" {
					time.Sleep(retryInterval)
				}
				synctest.Wait()
				if !l.Ready() || output.count() != 5 || l.count != 0 || !strings.HasSuffix(said.String(), "the audit log is written again\"\n") {
					t.Errorf("ready %v, %d lines, %d wait: %s", l.Ready(), output.count(), l.count, said)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What there is no room for is lost and counted, and so is what is left at the end. Nobody
// waits.
func TestLostLinesAreCounted(t *testing.T) {
	t.Parallel()
	output := &tape{full: true}
	l, _ := newLog(output)
	l.Record(t.Context(), make([]Write, maxWaiting-1)...)
	l.Record(t.Context(), make([]Write, 3)...)
	if l.lost.Load() != 2 {
		t.Errorf("%d lines are lost, want 2", l.lost.Load())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if output.others > 0 {
		t.Errorf("%d times others are written in the place of lines of which the output may have a part", output.others)
	}
	l.Record(t.Context(), Write{})
	if l.lost.Load() != maxWaiting+3 || l.written.Load() != 0 {
		t.Errorf("%d lines are lost, want %d", l.lost.Load(), maxWaiting+3)
	}
}

func TestNoLogDoesNothing(t *testing.T) {
	t.Parallel()
	var l *Log
	l.Record(t.Context(), Write{})
	l.Reopen()
	if err := l.Close(); err != nil || !l.Ready() {
		t.Errorf("%v, ready %v", err, l.Ready())
	}
}

// Whoever has moved a file away learns when the next one is written. Of what cannot be moved
// nothing is said.
func TestReopeningIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cannot error
		want   string
	}{
		{nil, "level=INFO msg=\"the audit log is opened anew\""},
		{os.ErrPermission, "level=ERROR msg=\"the audit log cannot be opened anew; that of before is written\" error=\"permission denied\""},
		{errors.ErrUnsupported, ""},
	} {
		l, said := newLog(&tape{cannot: test.cannot})
		l.Reopen()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, line, _ := strings.Cut(strings.TrimSpace(said.String()), " "); line != test.want {
			t.Errorf("%v: the log says %q, want %q", test.cannot, line, test.want)
		}
	}
}

// A file that has a part of a line gets the rest of it, and another one all of it.
func TestTornLines(t *testing.T) {
	t.Parallel()
	lines := []byte("first\nsecond\nthird\n")
	for name, test := range map[string]struct {
		moved, want string
	}{
		"same file": {"", "first\nsecond\nthird\n"},
		"moved":     {"first\nsec", "second\nthird\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "audit")
			f := tornFile(t, path, lines, 9)
			if test.moved != "" {
				if err := os.Rename(path, path+".1"); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(f.Reopen(), f.Write(lines), f.Close()); err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != test.want {
				t.Errorf("%q, error %v", text, err)
			}
			if text, _ := os.ReadFile(path + ".1"); string(text) != test.moved {
				t.Errorf("the file of before has %q", text)
			}
		})
	}
}

// tornFile is a new file that has taken so many bytes of some lines, as if the disk had been full
// then.
func tornFile(t *testing.T, path string, lines []byte, done int) *File {
	t.Helper()
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.file.Write(lines[:done]); err != nil {
		t.Fatal(err)
	}
	f.stopped(lines, done)
	return f
}

// So does one that was cut meanwhile, as copytruncate of logrotate does where there is no room.
func TestTornLineThatIsCutOff(t *testing.T) {
	t.Parallel()
	lines := []byte("first\nsecond\nthird\n")
	path := filepath.Join(t.TempDir(), "audit")
	f := tornFile(t, path, lines, 9)
	if err := errors.Join(os.Truncate(path, 0), f.Write(lines), f.Write([]byte("last\n")), f.Close()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "second\nthird\nlast\n" {
		t.Errorf("%q, error %v", text, err)
	}
}

// What an earlier server could not finish spoils no line of those that come.
func TestLineThatWasLeftTorn(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{
		"":             "line\nlast\n",
		"first\n":      "first\nline\nlast\n",
		"first\nsecon": "first\nsecon\nline\nlast\n",
	} {
		for _, moved := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "audit")
			open := path
			if moved {
				open += ".1"
			}
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := OpenFile(open)
			if err != nil {
				t.Fatal(err)
			}
			f.path = path
			if err := errors.Join(f.Reopen(), f.Write([]byte("line\n")), f.Reopen(), f.Write([]byte("last\n")), f.Close()); err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != want {
				t.Errorf("%q becomes %q, error %v", before, text, err)
			}
		}
	}
}

func TestFileThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err == nil {
		t.Error("a directory is opened")
	}
	if err := errors.Join(f.Write([]byte("line\n")), f.Close()); err != nil {
		t.Errorf("the file of before is not written: %v", err)
	}
	if _, err := OpenFile(filepath.Join(path, "x", "y")); err == nil {
		t.Error("a file in no folder is opened")
	}
}

// gone takes all and keeps nothing.
type gone struct{}

func (gone) Write([]byte) error { return nil }
func (gone) Reopen() error      { return errors.ErrUnsupported }
func (gone) Close() error       { return nil }

func BenchmarkRecord(b *testing.B) {
	l, _ := newLog(gone{})
	defer l.Close()
	b.ReportAllocs()
	for b.Loop() {
		l.Record(context.Background(), Write{UserID: "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d", Version: 1, Changed: true})
	}
}
