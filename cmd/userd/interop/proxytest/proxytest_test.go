package proxytest_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/interop/proxytest"
)

// The server learns which host its callers ask for: it answers those that it knows.
func TestStart(t *testing.T) {
	for _, name := range []string{"nginx", "haproxy", "caddy"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := newBackend(t)
			proxy := proxytest.Start(t, name, backend, backend)
			resp, err := newClient(t, proxy.CA).Get(proxy.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, err := io.ReadAll(resp.Body)
			host, port, _ := strings.Cut(proxy.Address, ":")
			if got := strings.TrimSuffix(string(answer), ":"+port); err != nil || got != host {
				t.Errorf("asked for %q, %v", answer, err)
			}
		})
	}
}

// newBackend serves HTTP/1.1 and h2c until the test ends, and returns where. It answers with
// the host that it is asked for.
func newBackend(t *testing.T) string {
	t.Helper()
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host)
	}))
	backend.Config.Protocols = new(http.Protocols)
	backend.Config.Protocols.SetHTTP1(true)
	backend.Config.Protocols.SetUnencryptedHTTP2(true)
	backend.Start()
	t.Cleanup(backend.Close)
	return strings.TrimPrefix(backend.URL, "http://")
}

func newClient(t *testing.T, ca string) *http.Client {
	t.Helper()
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
