//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

// program is a client that runs as a process of its own; doc.go says what it reads
// and writes.
type program struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string // Closed at the end.
	stderr bytes.Buffer
}

func startProgram(t *testing.T, name string, args ...string) client {
	t.Helper()
	p := &program{cmd: exec.Command(name, args...), lines: make(chan string)}
	userdtest.DieWithTest(p.cmd, syscall.SIGKILL)
	p.cmd.Stderr = &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	ended := make(chan error, 1)
	go func() { ended <- p.read(stdout) }()
	t.Cleanup(func() {
		stdin.Close()
		for range p.lines {
		}
		if err := <-ended; err != nil || t.Failed() {
			t.Logf("%s: %v: %s", name, err, &p.stderr)
		}
	})
	return p
}

func (p *program) read(stdout io.Reader) error {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		p.lines <- lines.Text()
	}
	close(p.lines)
	return p.cmd.Wait()
}

func (p *program) play(ctx context.Context, scenario, run string, count int) string {
	if _, err := fmt.Fprintln(p.stdin, scenario, run, count); err != nil {
		return fmt.Sprintf("failed: the program has ended: %v", err)
	}
	select {
	case said, ok := <-p.lines:
		if !ok {
			return "failed: the program has ended"
		}
		return said
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		return fmt.Sprintf("failed: %v", context.Cause(ctx))
	}
}

func newNode(library string) func(t *testing.T, target target) client {
	return func(t *testing.T, target target) client {
		if _, err := os.Stat("testdata/node_modules/"); err != nil {
			t.Fatal("the clients for Node.js are missing: run .ci/install")
		}
		return startProgram(t, userdtest.Program(t, "node"), "testdata/node.mjs", library, target.url, target.caArgument(), userdtest.Descriptors(t))
	}
}

func newPython(t *testing.T, target target) client {
	python := userdtest.Program(t, "/usr/bin/python3")
	needs(t, "grpcio", python, "-c", "import grpc, google.protobuf")
	return startProgram(t, python, "testdata/client.py", target.url, target.caArgument(), userdtest.Descriptors(t))
}

func newRuby(t *testing.T, target target) client {
	ruby := userdtest.Program(t, "/usr/bin/ruby")
	needs(t, "grpc for Ruby", ruby, "-e", "require 'grpc'")
	return startProgram(t, ruby, "testdata/client.rb", target.url, target.caArgument(), userdtest.Descriptors(t))
}

func newCPP(t *testing.T, target target) client {
	return startProgram(t, builtCPP(t), target.url, target.caArgument())
}

func newJava(t *testing.T, target target) client {
	classes := builtJava(t)
	return startProgram(t, userdtest.Program(t, "java"), "-Xmx512m", "-Djava.library.path="+classes, "-cp", classes+":"+javaPath,
		"Client", target.url, target.caArgument())
}

// newBrowser is connect-web on a page of another origin, which the server has to
// allow.
func newBrowser(library string) func(t *testing.T, target target) client {
	return func(t *testing.T, target target) client {
		mux := http.NewServeMux()
		mux.Handle("/", http.FileServer(http.Dir("testdata")))
		mux.HandleFunc("/page.html", func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, "../clienttest/testdata/page.html")
		})
		schema := userdtest.Descriptors(t)
		mux.HandleFunc("/descriptors", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, schema) })
		pages := httptest.NewServer(mux)
		t.Cleanup(pages.Close)
		page := pages.URL + "/page.html?" + url.Values{"library": {library}, "url": {target.url}}.Encode()
		chromium := userdtest.Program(t, "chromium", "chromium-browser", "google-chrome")
		return startProgram(t, userdtest.Program(t, "node"), "testdata/browser.mjs", chromium, page)
	}
}

// needs fails the test when a command, which looks for a library, fails.
func needs(t *testing.T, library, name string, args ...string) {
	t.Helper()
	if exec.Command(name, args...).Run() != nil {
		t.Fatalf("%s is missing: run .ci/install", library)
	}
}
