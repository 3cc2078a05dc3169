//go:build interop

package interop

import (
	"testing"

	"github.com/example/userd/cmd/userd/interop/proxytest"
	"github.com/example/userd/cmd/userd/userdtest"
)

// behind are the proxies, and what of a call they change. HAProxy reads nothing more
// from a connection whose requests the server has not taken yet, window updates
// included; when those are what the answers wait for, neither side goes on. What fits
// into the server's window never waits there.
var behind = map[string]plan{
	"nginx":   {metadata: []int{6 << 10}, http1: true},
	"haproxy": {metadata: []int{6 << 10}, ahead: 3000},
	"caddy":   {metadata: []int{8 << 10, 60 << 10}},
}

// The server has its default idle timeout: that of the proxies has to be shorter, since
// nginx does not repeat a call on a connection that has just been closed.
func TestBehind(t *testing.T) {
	notWithAddress(t)
	for proxy, p := range behind {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			server := userdtest.Start(t, "--cors-origin", "*").Host()
			running := proxytest.Start(t, proxy, server, server)
			p.target = target{url: running.URL, ca: running.CA}
			p.messages, p.idle = *messages, *idleTime
			p.run(t)
		})
	}
}
