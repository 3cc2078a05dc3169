package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/example/userd/cmd/userd/cli"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/store"
)

// watchServer has its first stream end with end, and the second go on for as long as the
// caller stays.
type watchServer struct {
	userv1connect.UnimplementedUserServiceHandler
	end     func(*httptest.Server) error
	http    *httptest.Server
	seen    chan struct{} // Closed when the caller has shown the message of the first stream.
	watched func()        // Called when the second stream has begun.

	mu      sync.Mutex
	cursors []string // That streams began at.
}

func (s *watchServer) WatchUsers(ctx context.Context, request *userv1.WatchUsersRequest, stream userv1connect.UserServiceWatchUsersServerStream) error {
	s.mu.Lock()
	s.cursors = append(s.cursors, request.GetCursor())
	first := len(s.cursors) == 1
	s.mu.Unlock()
	if !first {
		s.watched()
		<-ctx.Done()
		return ctx.Err()
	}
	if err := stream.Send(&userv1.WatchUsersResponse{Cursor: "seven"}); err != nil {
		return err
	}
	select {
	case <-s.seen: // What is on its way can be lost with the connection.
	case <-ctx.Done():
	}
	return failure.ForCaller(ctx, s.end(s.http))
}

// shown is an output that says when something is written.
type shown struct {
	bytes.Buffer
	once sync.Once
	seen chan struct{}
}

func (s *shown) Write(text []byte) (int, error) {
	defer s.once.Do(func() { close(s.seen) })
	return s.Buffer.Write(text)
}

// A watch goes on where it was, whatever ends its stream that may be gone soon.
func TestWatchGoesOn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end    func(*httptest.Server) error
		goesOn bool
	}{
		"the server stops":    {func(*httptest.Server) error { return failure.ErrDraining }, true},
		"the store is away":   {func(*httptest.Server) error { return store.ErrUnavailable }, true},
		"too many calls":      {func(*httptest.Server) error { return store.ErrOverloaded }, true},
		"it was not read":     {func(*httptest.Server) error { return failure.ErrSlowConsumer }, true},
		"the stream is reset": {func(*httptest.Server) error { panic(http.ErrAbortHandler) }, true},
		"the connection is lost": {func(server *httptest.Server) error {
			server.CloseClientConnections()
			return errors.New("nobody reads this")
		}, true},
		"the changes are gone":     {func(*httptest.Server) error { return store.ErrCursorExpired }, false},
		"the caller is not known":  {func(*httptest.Server) error { return failure.ErrRevoked }, false},
		"the server is at a fault": {func(*httptest.Server) error { return errors.New("a defect") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			out := &shown{seen: make(chan struct{})}
			s := &watchServer{end: test.end, seen: out.seen, watched: interrupt}
			s.http = serve(t, s)
			err := run(ctx, watchCommand(), out, "--server", s.http.URL, "--json")
			want, code := []string{""}, cli.Failure
			if test.goesOn {
				want, code = []string{"", "seven"}, cli.Interrupt
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if cli.Code(err) != code || !slices.Equal(s.cursors, want) || !strings.Contains(out.String(), "seven") {
				t.Errorf("it ends with %v, after streams from %q: %s", err, s.cursors, out)
			}
		})
	}
}

// rawMessage is a message of a stream as it is sent.
func rawMessage(flags byte, size uint32, text string) string {
	return string(binary.BigEndian.AppendUint32([]byte{flags}, size)) + text
}

// A watch ends with what no other stream would change, and goes on behind a stream that was cut
// off.
func TestWatchEndsForGood(t *testing.T) {
	t.Parallel()
	const tooLarge = 5 << 20
	for name, test := range map[string]struct {
		stream string // What the first one has behind its message.
		goesOn bool
	}{
		"a message that cannot be decoded":    {stream: rawMessage(0, 3, "\xff\xff\xff")},
		"a message that is too large":         {stream: rawMessage(0, tooLarge, strings.Repeat("x", tooLarge))},
		"a message in an unknown form":        {stream: rawMessage(0x40, 1, "x")},
		"an end that cannot be decoded":       {stream: rawMessage(2, 1, "x")},
		"nothing: it was cut off":             {goesOn: true},
		"a part of a message: it was cut off": {stream: rawMessage(0, 100, "x"), goesOn: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var streams atomic.Int32
			server := serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if streams.Add(1) > 1 {
					interrupt()
					return
				}
				w.Header().Set("Content-Type", "application/connect+proto")
				_, _ = io.WriteString(w, rawMessage(0, 3, "\x12\x01c")+test.stream) // The first has the cursor c.
			}))
			err := run(ctx, watchCommand(), io.Discard, "--server", server.URL)
			want := cli.Failure
			if test.goesOn {
				want = cli.Interrupt
			}
			if cli.Code(err) != want || (streams.Load() > 1) != test.goesOn {
				t.Errorf("it ends with %v, after %d streams", err, streams.Load())
			}
		})
	}
}

// fullDisk is an output that cannot be written.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// Changes that cannot be written are not asked for again.
func TestWatchEndsWithItsOutput(t *testing.T) {
	t.Parallel()
	var streams atomic.Int32
	server := serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		streams.Add(1)
		w.Header().Set("Content-Type", "application/connect+proto")
		_, _ = io.WriteString(w, rawMessage(0, 3, "\x12\x01c"))
	}))
	err := run(t.Context(), watchCommand(), fullDisk{}, "--server", server.URL, "--json")
	if !errors.Is(err, syscall.ENOSPC) || streams.Load() != 1 {
		t.Errorf("it ends with %v, after %d streams", err, streams.Load())
	}
}
