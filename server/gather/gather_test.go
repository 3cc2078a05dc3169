package gather

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/failure"
)

// flushedWriter records what a response has sent with each flush.
type flushedWriter struct {
	http.ResponseWriter
	mu      sync.Mutex
	pending string
	sent    []string
	err     error // Of the next write.
}

func newFlushedWriter() *flushedWriter { return &flushedWriter{ResponseWriter: httptest.NewRecorder()} }

func (w *flushedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.pending += string(p)
	return len(p), nil
}

func (w *flushedWriter) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, w.pending)
	w.pending = ""
	return nil
}

// handleStream runs a handler of a stream, whose writer is its argument too.
func handleStream(w http.ResponseWriter, handler func(ctx context.Context, send func(string) error)) {
	const path = "/stream"
	types := map[string]connect.StreamType{path: connect.StreamTypeServer}
	Streams(types, sendTimeout)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler(r.Context(), func(message string) error { // As Connect does it.
			_, err := w.Write([]byte(message[:1]))
			if err == nil {
				_, err = w.Write([]byte(message[1:]))
			}
			w.(http.Flusher).Flush()
			return err
		})
	})).ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
}

func checkSent(tb testing.TB, w *flushedWriter, want ...string) {
	tb.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.sent, want) {
		tb.Errorf("sent %.40q, want %.40q", w.sent, want)
	}
}

func TestStreamIsGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFlushedWriter()
		half := strings.Repeat("h", flushBytes/2)
		handleStream(w, func(ctx context.Context, sendOne func(string) error) {
			send := func(messages ...string) {
				for _, message := range messages {
					if err := sendOne(message); err != nil {
						t.Error(err)
					}
				}
			}
			send("first")
			checkSent(t, w, "first")
			send("a1", "a2")
			checkSent(t, w, "first")
			time.Sleep(flushDelay)
			synctest.Wait()
			checkSent(t, w, "first", "a1a2")
			send("b1")
			if err := Flush(ctx); err != nil {
				t.Error(err)
			}
			checkSent(t, w, "first", "a1a2", "b1")
			for range openingBytes / openingFlushBytes {
				send(half[:openingFlushBytes])
			}
			opening := slices.Repeat([]string{half[:openingFlushBytes]}, openingBytes/openingFlushBytes)
			checkSent(t, w, append([]string{"first", "a1a2", "b1"}, opening...)...)
			w.sent = w.sent[:3]
			send("c1", half, half)
			checkSent(t, w, "first", "a1a2", "b1", "c1"+half) // No part of the next message.
			send(half + half + half)
			checkSent(t, w, "first", "a1a2", "b1", "c1"+half, half, half+half) // It is larger than the buffer.
			send("last")
		})
		if w.pending != half+"last" {
			t.Errorf("%q is left for the end of the stream", w.pending)
		}
		sent := len(w.sent)
		time.Sleep(time.Second)
		if len(w.sent) != sent {
			t.Error("the response is flushed after its end")
		}
	})
}

// What a failed write means is told by a flush, and by the next message.
func TestStreamFailure(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ cause, want error }{
		"slow": {fmt.Errorf("write: %w", os.ErrDeadlineExceeded), failure.ErrSlowConsumer},
		"gone": {errors.New("connection reset"), context.Canceled},
	} {
		w := newFlushedWriter()
		handleStream(w, func(ctx context.Context, send func(string) error) {
			if err := send("first"); err != nil {
				t.Error(err)
			}
			w.err = test.cause
			if err := send("second"); err != nil { // Its failure is not known yet.
				t.Error(err)
			}
			if err := Flush(ctx); !errors.Is(err, test.want) {
				t.Errorf("%s: flush fails with %v, want %v", name, err, test.want)
			}
			if err := send("third"); !errors.Is(err, test.want) {
				t.Errorf("%s: the next message fails with %v, want %v", name, err, test.want)
			}
		})
	}
}
