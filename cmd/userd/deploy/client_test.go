package deploy_test

import (
	"crypto/tls"
	"net/http"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cmd/userd/userdtest"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// bearer sends a token with all requests.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	if b.token != "" {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(req)
}

// newClient calls a server over gRPC, whatever its certificate.
func newClient(t *testing.T, server *userdtest.Userd, token string) userv1connect.UserServiceClient {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // Tests have a certificate of their own.
	t.Cleanup(transport.CloseIdleConnections)
	return userv1connect.NewUserServiceClient(connect.NewClient(
		connecthttp.NewTransport(&http.Client{Transport: bearer{token, transport}}, server.URL, connecthttp.WithGRPC())))
}
