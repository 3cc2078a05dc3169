package remote

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/spf13/cobra"

	"github.com/example/userd/gen/user/v1/userv1connect"
)

// serve runs a server for commands, which can do what a real one does seldom.
func serve(t *testing.T, users userv1connect.UserServiceHandler) *httptest.Server {
	t.Helper()
	rpc := connect.NewServer()
	userv1connect.RegisterUserServiceHandler(rpc, users)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc)
	return serveHTTP(t, mux)
}

// serveHTTP runs a server for commands that may be none of userd.
func serveHTTP(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// run runs a command.
func run(ctx context.Context, cmd *cobra.Command, out io.Writer, args ...string) error {
	cmd.SetOut(out)
	cmd.SetErr(io.Discard)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	return cmd.ExecuteContext(ctx)
}
