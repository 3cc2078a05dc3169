// Package userdtest is what tests with clients of other makers have in common: it
// builds userd, runs it, and describes the schema for programs that know it only at
// run time.
package userdtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// dir is for files that all tests share.
var dir string

// Main runs the tests of a package and then removes what Dir has. TestMain calls it.
func Main(m *testing.M) {
	temporary, err := os.MkdirTemp("", "userdtest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer os.RemoveAll(temporary)
	dir = temporary
	m.Run()
}

// Dir is a folder for what several tests share. It is there until the last has ended.
func Dir() string { return dir }

var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(dir, "userd")
	output, err := exec.Command("go", "build", "-o", path, "github.com/example/userd/cmd/userd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build userd: %w: %s", err, output)
	}
	return path, lookAtSources()
})

// lookAtSources has go test know what userd is built of: a result is taken from its cache
// unless a file of the project has changed that the test has looked at.
func lookAtSources() error {
	const files = `{{with .Module}}{{if .Main}}{{range $.GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}{{range $.EmbedFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`
	output, err := exec.Command("go", "list", "-deps", "-f", files, "github.com/example/userd/cmd/userd").Output()
	if err != nil {
		return fmt.Errorf("list what userd is built of: %w", err)
	}
	for file := range strings.Lines(string(output)) {
		if _, err := os.Stat(strings.TrimSuffix(file, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// Binary returns the path of userd, built from the tree of the test.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Userd is a server that runs.
type Userd struct {
	URL     string // Of the service.
	Metrics string // URL of the metrics, on the admin listener.

	cmd  *exec.Cmd
	done chan error // Has how it ended; nil when that is known.
}

// Start runs userd on free ports, and on an empty SQLite database unless the flags
// say otherwise, until the test ends. Then it has to drain and exit with 0. Its log
// goes to the standard error of the test.
func Start(t testing.TB, flags ...string) *Userd {
	t.Helper()
	return StartLogging(t, os.Stderr, flags...)
}

// StartLogging is Start with a log that goes elsewhere.
func StartLogging(t testing.TB, log io.Writer, flags ...string) *Userd {
	t.Helper()
	return Run(t, log, exec.Command(Binary(t), Arguments(t, flags...)...))
}

// Arguments are those of a server on free ports, and on an empty SQLite database unless
// the flags say otherwise.
func Arguments(t testing.TB, flags ...string) []string {
	t.Helper()
	return append([]string{
		"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--database", "sqlite:" + filepath.Join(t.TempDir(), "userd.db"),
	}, flags...)
}

// Run is StartLogging of a command that has become userd when it serves.
func Run(t testing.TB, log io.Writer, cmd *exec.Cmd) *Userd {
	t.Helper()
	DieWithTest(cmd, syscall.SIGKILL)
	cmd.Stderr = log
	cmd.Env = append(cmd.Environ(), "USERD_BANNER=always")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	u := &Userd{cmd: cmd, done: make(chan error, 1)}
	output := bufio.NewReader(stdout)
	if err := u.readURLs(output); err != nil {
		t.Fatal(errors.Join(err, cmd.Wait()))
	}
	go func() {
		_, _ = io.Copy(io.Discard, output)
		u.done <- cmd.Wait()
	}()
	t.Cleanup(func() { u.Stop(t) })
	return u
}

var urls = regexp.MustCompile(`https?://\S+`)

// readURLs reads what userd says when it starts.
func (u *Userd) readURLs(output *bufio.Reader) error {
	for _, url := range []*string{&u.URL, &u.Metrics} {
		for *url == "" {
			line, err := output.ReadString('\n')
			if err != nil {
				return fmt.Errorf("userd has not said its URLs: %w", err)
			}
			*url = urls.FindString(line)
		}
	}
	return nil
}

// Host is where the service listens, host:port.
func (u *Userd) Host() string {
	_, host, _ := strings.Cut(u.URL, "://")
	return host
}

// Process is the one that serves.
func (u *Userd) Process() *os.Process { return u.cmd.Process }

// Stop drains userd. A second time it does nothing.
func (u *Userd) Stop(t testing.TB) {
	t.Helper()
	if u.done == nil {
		return
	}
	_ = u.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-u.done; err != nil {
		t.Errorf("userd: %v", err)
	}
	u.done = nil
}

// Kill ends userd at once.
func (u *Userd) Kill(t testing.TB) {
	t.Helper()
	if err := u.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-u.done // It was killed.
	u.done = nil
}

// Program returns the path of the first of these programs that is there, also where
// PATH has no folders for daemons.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, candidate := range []string{name, "/usr/sbin/" + name} {
			if path, err := exec.LookPath(candidate); err == nil {
				return path
			}
		}
	}
	t.Fatalf("%s is missing: run .ci/install", filepath.Base(names[0]))
	return ""
}
