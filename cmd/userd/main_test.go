package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/example/userd/cache/cachetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"userd": main})
}

// TestScripts runs the binary as a person at a terminal would.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Values[serverKey{}] = new(scriptServer)
			env.Setenv("GORACE", os.Getenv("GORACE")) // With the race detector: how long a program waits at its end, for example.
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "server": startForScript, "restart": restartForScript, "drain": drainForScript,
		},
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

// scriptServer is the server that a script has started last.
type scriptServer struct {
	cmd   *exec.Cmd
	flags []string
}

type serverKey struct{}

// startForScript is the command of scripts that runs a server until the script ends. Then
// $USERD_SERVER is its URL, and server.log its log. There may be several.
func startForScript(ts *testscript.TestScript, negated bool, flags []string) {
	if negated {
		ts.Fatalf("usage: server FLAGS…")
	}
	s := ts.Value(serverKey{}).(*scriptServer)
	s.flags = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "", "--database", "sqlite:" + ts.MkAbs("server.db")}, flags...)
	ts.Setenv("USERD_SERVER", s.start(ts))
}

// restartForScript is the command of scripts that kills the server, and starts it again where
// it was.
func restartForScript(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) > 0 {
		ts.Fatalf("usage: restart")
	}
	s := ts.Value(serverKey{}).(*scriptServer)
	ts.Check(s.cmd.Process.Kill())
	_ = s.cmd.Wait()
	s.flags = append(s.flags, "--listen", strings.TrimPrefix(ts.Getenv("USERD_SERVER"), "http://"))
	s.start(ts)
}

// drainForScript is the command of scripts that ends the server as an operator does.
func drainForScript(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) > 0 {
		ts.Fatalf("usage: drain")
	}
	s := ts.Value(serverKey{}).(*scriptServer)
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	ts.Check(s.cmd.Wait())
}

// start starts the server, and returns its URL.
func (s *scriptServer) start(ts *testscript.TestScript) string {
	path, err := exec.LookPath("userd")
	ts.Check(err)
	log, err := os.OpenFile(ts.MkAbs("server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	defer log.Close()
	cmd := exec.Command(path, s.flags...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "USERD_BANNER=always")
	cmd.SysProcAttr = cachetest.DieWithParent()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s.cmd = cmd
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			ts.Fatalf("the server has not started: %v: %s", err, ts.ReadFile("server.log"))
		}
		if match := serviceLine.FindStringSubmatch(line); match != nil {
			return match[1]
		}
	}
}
