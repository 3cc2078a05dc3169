// Package pgbin finds the PostgreSQL programs of this machine, for tests and
// benchmarks that start servers of their own.
package pgbin

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// Env is the environment variable with the folder of the programs.
const Env = "USERD_TEST_POSTGRES_BIN"

// Dir returns the folder of the programs: the one that Env names, that of initdb on
// PATH, or the newest one that a package of Debian has installed.
func Dir() (string, error) {
	if dir := os.Getenv(Env); dir != "" {
		return dir, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		path, err = filepath.EvalSymlinks(path)
		return filepath.Dir(path), err
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no initdb on PATH or in /usr/lib/postgresql: install package postgresql, or set %s", Env)
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return majorVersion(a) - majorVersion(b) })
	return filepath.Dir(newest), nil
}

func majorVersion(initdb string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb)))) // 0 for an odd folder.
	return version
}
