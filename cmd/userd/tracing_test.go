package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTracesGoToTheCollector runs a server with the standard variable of
// OpenTelemetry and looks for the span of a call, and for what must not be in it.
func TestTracesGoToTheCollector(t *testing.T) {
	spans := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		spans <- r.URL.Path + string(body) // Protobuf; strings stand in it as they are.
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	p := startUserd(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	if out, err := exec.Command("bash", "-c", p.curl).Output(); err != nil {
		t.Fatalf("%s: %v: %s", p.curl, err, out)
	}
	if err := p.stop(t); err != nil { // Sends what is left.
		t.Fatal(err)
	}
	exported := <-spans
	if !strings.HasPrefix(exported, "/v1/traces") || !strings.Contains(exported, "user.v1.UserService/CreateUser") {
		t.Errorf("exported: %q", exported)
	}
	if strings.Contains(exported, "ada@example.com") || strings.Contains(exported, "Ada") {
		t.Errorf("a span holds personal data: %q", exported)
	}
}

func TestUnknownTraceProtocolIsRefused(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	out, err := exec.Command(userdPath(t), "serve", "--listen", "127.0.0.1:0", "--admin-listen", "",
		"--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf") {
		t.Errorf("serve: %v: %s", err, out)
	}
}
