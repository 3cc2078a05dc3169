//go:build interop

package interop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userd/interop/proxytest"
	"github.com/example/userd/cmd/userd/userdtest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store/storetest"
)

// Two servers over one PostgreSQL and one Redis, one with each transport, are restarted one
// after the other, behind a proxy: one with a delay, the other at once.
// Clients that repeat calls that are UNAVAILABLE, and no others, see none fail, and watchers
// that go on from their last cursor miss no user.
func TestRollingRestart(t *testing.T) {
	notWithAddress(t)
	binary := userdtest.Binary(t)
	migrate := func(ctx context.Context, url string) error {
		return exec.CommandContext(ctx, binary, "migrate", "up", "--database", url).Run()
	}
	for proxy := range behind {
		t.Run(proxy, func(t *testing.T) {
			database := storetest.Postgres(t, migrate)
			flags := []string{"--database", database, "--redis", cachetest.Start(t).URL()}
			servers := []*member{
				startMember(t, cachetest.FreeAddress(t), append(flags, "--http2", "engine", "--shutdown-delay", "1s")),
				startMember(t, cachetest.FreeAddress(t), append(flags, "--http2", "std")),
			}
			running := proxytest.Start(t, proxy, servers[0].Host(), servers[1].Host())
			load := startLoad(t, target{url: running.URL, ca: running.CA})
			for _, server := range servers {
				load.await(t, &server.calls, 100)
			}
			for _, server := range servers {
				server.Stop(t)
				load.await(t, &load.calls, 100) // The other one carries on.
				again := startMember(t, server.Host(), server.flags)
				load.await(t, &again.calls, 100)
			}
			load.stop(t)
		})
	}
}

// member is a server that counts its calls.
type member struct {
	*userdtest.Userd
	flags []string
	calls counter
}

func startMember(t *testing.T, listen string, flags []string) *member {
	t.Helper()
	m := &member{flags: slices.Clone(flags)}
	m.Userd = userdtest.StartLogging(t, m, append(m.flags, "--listen", listen, "--log-level", "debug", "--log-format", "json")...)
	return m
}

// Write takes the server's log. What is not about calls it passes on.
func (m *member) Write(lines []byte) (int, error) {
	calls := bytes.Count(lines, []byte(`"msg":"call`))
	m.calls.add(calls)
	if calls == 0 {
		return os.Stderr.Write(lines)
	}
	return len(lines), nil
}

// counter lets a test wait for events.
type counter struct {
	mu      sync.Mutex
	n, want int
	reached chan struct{} // Nil when nobody waits.
}

func (c *counter) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	if c.reached != nil && c.n >= c.want {
		close(c.reached)
		c.reached = nil
	}
}

// after is closed after so many more events. Only one may wait.
func (c *counter) after(more int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want, c.reached = c.n+more, make(chan struct{})
	return c.reached
}

// load is callers that go on until one of them fails.
type load struct {
	calls    counter
	ctx      context.Context // Done when they are to end.
	cancel   context.CancelFunc
	callers  *errgroup.Group
	watchers errgroup.Group

	mu      sync.Mutex
	created map[string]bool
	done    chan struct{} // Closed when created has all.
}

func startLoad(t *testing.T, target target) *load {
	t.Helper()
	l := &load{created: make(map[string]bool), done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(t.Context())
	l.callers, l.ctx = errgroup.WithContext(l.ctx)
	for _, c := range []client{newGRPCGo(t, target), newConnectGo()(t, target), newJSON(t, target)} {
		for range 2 {
			l.callers.Go(func() error { return l.call(c.(*goClient)) })
		}
		l.watchers.Go(func() error { return l.watch(t.Context(), c.(*goClient)) })
	}
	return l
}

// await waits for events that the load causes.
func (l *load) await(t *testing.T, events *counter, more int) {
	t.Helper()
	select {
	case <-events.after(more):
	case <-l.ctx.Done():
		t.Fatal(l.callers.Wait())
	}
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	if err := l.callers.Wait(); err != nil {
		t.Error(err)
	}
	close(l.done)
	if err := l.watchers.Wait(); err != nil {
		t.Error(err)
	}
}

// watch returns when it has seen all users that were created. It goes on from its last
// cursor where its stream ends as UNAVAILABLE.
func (l *load) watch(ctx context.Context, c *goClient) error {
	seen, cursor := make(map[string]bool), "earliest"
	for !l.hasAll(seen) {
		s, err := c.start(ctx, "WatchUsers", &userv1.WatchUsersRequest{Cursor: cursor}, false)
		for err == nil && !l.hasAll(seen) {
			var events userv1.WatchUsersResponse
			if err = s.Receive(&events); err == nil {
				cursor = events.GetCursor()
			}
			for _, event := range events.GetEvents() {
				seen[event.GetUpserted().GetId()] = true
			}
		}
		if code, _ := c.failure(err); err != nil && code != uint32(codes.Unavailable) {
			return fmt.Errorf("watch: %w", err)
		}
		time.Sleep(50 * time.Millisecond) // As clients do.
	}
	return nil
}

// hasAll reports whether no more users are created and all are there.
func (l *load) hasAll(seen map[string]bool) bool {
	select {
	case <-l.done:
	default:
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.created {
		if !seen[id] {
			return false
		}
	}
	return true
}

// call creates users and reads them, from whichever server the proxy chooses.
func (l *load) call(c *goClient) error {
	for l.ctx.Err() == nil {
		id := uuid.NewString()
		create := &userv1.CreateUserRequest{UserId: id, Email: id + "@interop.example", DisplayName: "Ada"}
		if err := c.repeat("CreateUser", create, &userv1.CreateUserResponse{}); err != nil {
			return err
		}
		var got userv1.GetUserResponse
		if err := c.repeat("GetUser", &userv1.GetUserRequest{UserId: id, MinVersion: 1}, &got); err != nil {
			return err
		}
		if got.User == nil {
			return fmt.Errorf("user %s was created and is not there", id)
		}
		l.mu.Lock()
		l.created[id] = true
		l.mu.Unlock()
		l.calls.add(2)
	}
	return nil
}

// repeat makes a call, and again while it is UNAVAILABLE, with the backoff of clients
// that do so: seven pauses that double from 50 ms on.
func (c *goClient) repeat(name protoreflect.Name, request, response any) error {
	for backoff := 50 * time.Millisecond; ; backoff *= 2 {
		err := c.call(context.Background(), name, request, response, false)
		code, _ := c.failure(err)
		if err == nil || code != uint32(codes.Unavailable) || backoff > 5*time.Second {
			return err
		}
		time.Sleep(backoff)
	}
}
