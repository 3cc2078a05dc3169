package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/example/userd/cache/cachetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"userd": main})
}

// TestScripts runs the binary as a person at a terminal would.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "server": serverOfScript},
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

// serverOfScript is the command of scripts that runs a server until the script ends. Then
// $USERD_SERVER is its URL.
func serverOfScript(ts *testscript.TestScript, negated bool, flags []string) {
	if negated {
		ts.Fatalf("usage: server FLAGS…")
	}
	path, err := exec.LookPath("userd")
	ts.Check(err)
	cmd := exec.Command(path, append([]string{
		"serve", "--listen", "127.0.0.1:0", "--admin-listen", "", "--database", "sqlite:" + ts.MkAbs("server.db"),
	}, flags...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.SysProcAttr = cachetest.DieWithParent()
	cmd.Stderr = os.Stderr // That of the script belongs to its commands.
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		ts.Check(err)
		if match := serviceLine.FindStringSubmatch(line); match != nil {
			ts.Setenv("USERD_SERVER", match[1])
			return
		}
	}
}
