//go:build interop

package interop

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/example/userd/cmd/userd/interop/proxytest"
	"github.com/example/userd/cmd/userd/userdtest"
	userv1 "github.com/example/userd/gen/user/v1"
)

// A header that is larger than the server takes ends the call that has it, and no
// other of those that a proxy has put on the same connection. nginx puts none there
// while another is under way.
func TestOversizedHeaderOnASharedConnection(t *testing.T) {
	notWithAddress(t)
	for proxy, before := range map[string]string{
		"caddy":   "",
		"haproxy": "global\n    tune.bufsize 131072\n", // Else it takes no such header itself.
	} {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			server := userdtest.Start(t, "--http2", "engine")
			settings := strings.NewReplacer("10.0.0.1:8080", server.Host(), "10.0.0.2:8080", server.Host())
			running := proxytest.StartWith(t, proxy, before+settings.Replace(proxytest.Settings(t, proxy)))
			target := target{url: running.URL, ca: running.CA}
			victims := newGRPCGo(t, target).(*goClient)
			var watches [20]stream
			for i := range watches {
				watches[i] = victims.watchFromNow(t)
			}
			if open := connections(t, server); open >= len(watches) {
				t.Fatalf("%d watches do not share their %d connections", len(watches), open)
			}
			attacker := newGRPCGo(t, target).(*goClient)
			for range 20 {
				ctx := attacker.withHeader(t.Context(), "x-large", strings.Repeat("x", 70<<10))
				_, err := attacker.get(ctx, nobody)
				if code, _ := attacker.failure(err); code != uint32(codes.ResourceExhausted) {
					t.Errorf("a call with a header of 70 KiB: %v, want RESOURCE_EXHAUSTED", err)
				}
			}
			if err := victims.call(t.Context(), "CreateUser", newUser("after", "After"), &userv1.CreateUserResponse{}, false); err != nil {
				t.Error(err)
			}
			for i, watch := range watches {
				if err := seesChange(watch); err != nil {
					t.Errorf("watch %d: %v", i, err)
				}
			}
		})
	}
}

// watchFromNow returns a watch that has begun.
func (c *goClient) watchFromNow(t *testing.T) stream {
	t.Helper()
	s, err := c.start(t.Context(), "WatchUsers", &userv1.WatchUsersRequest{}, false)
	if err == nil {
		err = s.Receive(&userv1.WatchUsersResponse{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// seesChange reads a watch up to the next change.
func seesChange(s stream) error {
	for {
		var response userv1.WatchUsersResponse
		if err := s.Receive(&response); err != nil || len(response.GetEvents()) > 0 {
			return err
		}
	}
}

var connectionsLine = regexp.MustCompile(`(?m)^userd_connections (\d+)$`)

// connections asks a server how many it has open.
func connections(t *testing.T, server *userdtest.Userd) int {
	t.Helper()
	text := userdtest.Get(t, server.Metrics)
	found := connectionsLine.FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("the metrics say nothing of connections: %s", text)
	}
	open, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return open
}
