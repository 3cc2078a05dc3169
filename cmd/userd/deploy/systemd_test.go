package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

const unit = "systemd/userd.service"

// unitWithProgram is the unit with the program where it is here.
func unitWithProgram(t *testing.T) string {
	t.Helper()
	text := replaceOnce(t, readFile(t, unit), map[string]string{"ExecStart=/usr/local/bin/userd ": "ExecStart=" + userdtest.Binary(t) + " "})
	path := filepath.Join(t.TempDir(), "userd.service")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// systemd knows every setting of the unit, and finds little that the unit leaves open: its
// measure goes from 0 to 100, and counts what a service on the network cannot do without.
func TestSystemdTakesTheUnit(t *testing.T) {
	t.Parallel()
	analyze := userdtest.Program(t, "systemd-analyze")
	for _, args := range [][]string{
		{"verify", "--man=no", "--recursive-errors=no", unitWithProgram(t)},
		{"security", "--no-pager", "--offline=true", "--threshold=15", unit},
	} {
		out, err := exec.Command(analyze, args...).CombinedOutput()
		if err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}
