package deploy_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
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

// A server that cannot start as long as its database or a file is away is started again until it
// can. One whose settings make no sense is not.
func TestSystemdStartsAgainWhatMayGoWell(t *testing.T) {
	t.Parallel()
	text := readFile(t, unit)
	for _, line := range []string{"Restart=on-failure", "StartLimitIntervalSec=0"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the unit has not %s", line)
		}
	}
	for setting, again := range map[string]bool{
		"--database=postgres://userd@127.0.0.1:1/users": true,
		"--database-file=nothing":                       true,
		"--auth-file=nothing":                           true,
		"--database=mysql://users":                      false,
	} {
		err := exec.Command(userdtest.Binary(t), "serve", setting, "--listen", "127.0.0.1:0", "--admin-listen", "").Run()
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			t.Fatalf("%s: %v", setting, err)
		}
		if given := strings.Contains(text, fmt.Sprintf("\nRestartPreventExitStatus=%d\n", ended.ExitCode())); given == again {
			t.Errorf("%s: after %v it is started again: %t", setting, err, !given)
		}
	}
}

// A server that has crashed is started again, though Go by itself ends such a program as userd
// ends for settings that make no sense. What it had in memory, users and tokens, is on no disk then.
func TestSystemdStartsAgainWhatHasCrashed(t *testing.T) {
	t.Parallel()
	text := readFile(t, unit)
	if !strings.Contains(text, "\nLimitCORE=0\n") {
		t.Error("a crash leaves what the server had in memory on a disk")
	}
	cmd := exec.Command("sh", append([]string{"-c", `ulimit -c 0; exec "$0" "$@"`, userdtest.Binary(t)}, userdtest.Arguments(t)...)...)
	cmd.Env = append(os.Environ(), "USERD_BANNER=always")
	for _, variable := range regexp.MustCompile(`(?m)^Environment=(.*)$`).FindAllStringSubmatch(text, -1) {
		cmd.Env = append(cmd.Env, variable[1])
	}
	userdtest.DieWithTest(cmd, syscall.SIGKILL)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Errorf("the server has not started: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil { // What Go takes for a crash.
		t.Error(err)
	}
	_ = cmd.Wait()
	prevented := fmt.Sprintf("\nRestartPreventExitStatus=%d\n", cmd.ProcessState.ExitCode())
	if cmd.ProcessState.Success() || strings.Contains(text, prevented) {
		t.Errorf("after a crash, %v, it is not started again", cmd.ProcessState)
	}
}

// Go looks into /proc/sys for how many connections may wait to be accepted, and Prometheus's
// client into /proc/stat for when the process began.
func TestSystemdHidesNothingThatIsRead(t *testing.T) {
	t.Parallel()
	if !strings.Contains(readFile(t, unit), "\nProcSubset=all\n") {
		t.Error("the unit hides what is not of a process in /proc")
	}
}
