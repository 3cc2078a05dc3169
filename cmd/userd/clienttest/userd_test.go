package clienttest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// userd is the path of the binary.
var userd string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "clienttest")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	userd = filepath.Join(dir, "userd")
	if output, err := exec.Command("go", "build", "-o", userd, "..").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build userd: %w: %s", err, output)
	}
	return m.Run(), nil
}

var serviceURL = regexp.MustCompile(`https?://\S+`)

// startUserd runs userd on an empty database for the time of the test and returns
// its URL. At the end userd has to drain and exit with 0.
func startUserd(t *testing.T, flags ...string) string {
	t.Helper()
	service, _ := startBoth(t, flags...)
	return service
}

// startBoth is startUserd that returns the URLs of both listeners.
func startBoth(t *testing.T, flags ...string) (service, admin string) {
	t.Helper()
	flags = append([]string{
		"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--database", "sqlite:" + filepath.Join(t.TempDir(), "userd.db"),
	}, flags...)
	p := start(context.WithoutCancel(t.Context()), userd, flags...)
	output := bufio.NewReader(p.stdout)
	service, serviceErr := readURL(output)
	metrics, metricsErr := readURL(output)
	if err := errors.Join(serviceErr, metricsErr); err != nil {
		t.Fatal(errors.Join(err, p.wait()))
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, output)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		if err := p.wait(); err != nil {
			t.Error(err)
		}
	})
	return service, strings.TrimSuffix(metrics, "/metrics")
}

// readURL reads what userd says when it starts up to its next URL.
func readURL(output *bufio.Reader) (string, error) {
	for {
		line, err := output.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("userd has not said its URL: %w", err)
		}
		if url := serviceURL.FindString(line); url != "" {
			return url, nil
		}
	}
}
