package deploy_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

var setting = regexp.MustCompile(`--[a-z][a-z-]+|\bUSERD_[A-Z_]+`)

// Each flag and variable that a file sets or names is one of userd.
func TestFilesNameFlagsThatExist(t *testing.T) {
	t.Parallel()
	help, err := exec.Command(userdtest.Binary(t), "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{unit, "kubernetes/deployment.yaml", "RUNBOOK.md"} {
		names := setting.FindAllString(readFile(t, filepath.FromSlash(file)), -1)
		for _, name := range names {
			if variable, ok := strings.CutPrefix(name, "USERD_"); ok {
				name = "--" + strings.ToLower(strings.ReplaceAll(variable, "_", "-"))
			}
			if !others[name] && !regexp.MustCompile(name+`\b[^-]`).Match(help) {
				t.Errorf("%s: there is no flag %s", file, name)
			}
		}
	}
}

// others are flags of other programs.
var others = map[string]bool{"--now": true, "--unit": true, "--selector": true, "--prefix": true, "--tail": true, "--dmesg": true, "--grep": true}
