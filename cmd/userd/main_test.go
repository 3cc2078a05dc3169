package main

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"userd": main})
}

// TestScripts runs the binary as a person at a terminal would.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits is the command of scripts that wants a program to end with an exit code:
// exits CODE PROGRAM ARGUMENTS…
func exits(ts *testscript.TestScript, negated bool, args []string) {
	code, err := strconv.Atoi(args[0])
	if negated || err != nil {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENTS…")
	}
	got := 0
	if exit := new(exec.ExitError); errors.As(ts.Exec(args[1], args[2:]...), &exit) {
		got = exit.ExitCode()
	}
	if got != code {
		ts.Fatalf("%s exits with %d, want %d", strings.Join(args[1:], " "), got, code)
	}
}
