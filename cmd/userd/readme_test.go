package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// failing are the README's examples that are meant to fail, and how.
var failing = map[string]string{
	"UserService/WatchUsers":                        "DeadlineExceeded",
	"localhost:8080 user.v1.UserService/DeleteUser": "USER_NOT_FOUND",
}

// TestREADMEExamplesWork runs the examples of the README in order, as they stand,
// but for the port.
func TestREADMEExamplesWork(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	p := startUserd(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	host := strings.TrimPrefix(p.url, "http://")
	examples := 0
	for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		script := block[1]
		if !strings.Contains(script, "localhost:8080") {
			continue
		}
		examples++
		runExample(t, script, strings.ReplaceAll(script, "localhost:8080", host))
	}
	if examples == 0 {
		t.Error("the README has no examples")
	}
}

func runExample(t *testing.T, script, command string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command)
	cmd.Env = append(os.Environ(), "PATH="+toolsPath(t)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	for example, failure := range failing {
		if strings.Contains(script, example) {
			if err == nil || !strings.Contains(string(out), failure) {
				t.Errorf("%s\nmust fail with %s, but: %v\n%s", script, failure, err, out)
			}
			return
		}
	}
	if err != nil || strings.Contains(string(out), `"code":`) {
		t.Errorf("%s\nfails: %v\n%s", script, err, out)
	}
}

// toolsPath is where .ci/install puts programs.
func toolsPath(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../.tools/bin")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
