package server_test

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// A caller that stops to read its stream is told why it ends.
func TestSlowReaderIsTold(t *testing.T) {
	t.Parallel()
	const window = 64 << 10
	for name, options := range map[string][]connecthttp.Option{
		"gRPC": {connecthttp.WithGRPC()}, "gRPC-Web": {connecthttp.WithGRPCWeb()}, "Connect": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logged := new(logBuffer)
			users := servertest.NewStore(t)
			fill(t, users, 5_000)
			running := servertest.Start(t, func(config *server.Config) {
				config.HTTP2, config.Store = server.Engine, users
				config.Logger, config.SendTimeout = logged.logger(), 100*time.Millisecond
			})
			client := servertest.HTTP2(t)
			client.Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: window}
			stream, err := running.ClientOf(client, options...).ListUsers(t.Context(), &userv1.ListUsersRequest{All: true})
			if err != nil {
				t.Fatal(err)
			}
			for !strings.Contains(logged.String(), "code=resource_exhausted") {
				runtime.Gosched()
			}
			for err == nil {
				_, err = stream.Receive()
			}
			if connect.CodeOf(err) != connect.CodeResourceExhausted {
				t.Errorf("the stream ends with %v", err)
			}
		})
	}
}
