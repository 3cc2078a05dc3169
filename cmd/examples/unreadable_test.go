package examples

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A message that cannot be read is not asked for again.
func TestGoEndsForGood(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/connect+proto")
		_, _ = io.WriteString(w, "\x00\x00\x00\x00\x01\xff")
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	example := exec.CommandContext(t.Context(), "go", "run", "./go", "-server", server.URL, "-cursor", filepath.Join(t.TempDir(), "cursor"))
	out, err := example.CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "unmarshal message") {
		t.Errorf("it ends with %v: %s", err, out)
	}
}
