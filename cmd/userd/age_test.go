package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cmd/userd/interop/proxytest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// Clients whose connections get old open others, and lose no call.
func TestOldConnectionsCostNoCall(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"engine", "std"} {
		for name, http1 := range map[string]bool{"HTTP/1.1": true, "HTTP/2": false} {
			t.Run(transport+" "+name, func(t *testing.T) {
				t.Parallel()
				const calling, opened = 4, 5
				p := startOnFile(t, "--http2", transport, "--max-connection-age", "50ms")
				protocols := new(http.Protocols)
				protocols.SetHTTP1(http1)
				protocols.SetUnencryptedHTTP2(!http1)
				var connections atomic.Int64
				client := &http.Client{Transport: &http.Transport{
					Protocols: protocols, MaxIdleConnsPerHost: calling,
					DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
						connections.Add(1)
						return new(net.Dialer).DialContext(ctx, network, address)
					},
				}}
				t.Cleanup(client.CloseIdleConnections)
				users := userv1connect.NewUserServiceClient(connect.NewClient(connecthttp.NewTransport(client, p.url)))
				var all sync.WaitGroup
				for range calling {
					all.Go(func() {
						for connections.Load() < calling*opened && t.Context().Err() == nil {
							if _, err := users.SearchUsers(t.Context(), &userv1.SearchUsersRequest{}); err != nil {
								t.Errorf("after %d connections: %v", connections.Load(), err)
								return
							}
						}
					})
				}
				all.Wait()
			})
		}
	}
}

// Neither do callers of proxies whose connections get old. Caddy 2.6 answers 502 once in a while: Go's
// client of then closes the body of a request that it has to send elsewhere, before it does.
func TestOldConnectionsBehindProxies(t *testing.T) {
	t.Parallel()
	for _, proxy := range []string{"nginx", "haproxy"} {
		for _, transport := range []string{"engine", "std"} {
			t.Run(proxy+" "+transport, func(t *testing.T) {
				t.Parallel()
				servers := [2]*process{}
				for i := range servers {
					servers[i] = startOnFile(t, "--http2", transport, "--max-connection-age", "100ms")
				}
				load := startLoad(t, proxytest.Start(t, proxy, servers[0].host(), servers[1].host()).URL)
				load.await(t, 1000)
				load.stop()
			})
		}
	}
}
