package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
)

// A proxy is not asked how the server is: it would tell of itself.
func TestHealthcheckAsksNoProxy(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy is asked") }))
	t.Cleanup(proxy.Close)
	cmd := exec.CommandContext(t.Context(), userdPath(t), "healthcheck", "--admin-listen", "192.0.2.1:9090") // Nobody has this address.
	cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy.URL)
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("it is healthy: %s", out)
	}
}
