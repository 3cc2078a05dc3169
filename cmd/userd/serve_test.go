package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userd/userdtest"
)

// staleness is what the cache promises, and what clocks and schedulers may add.
const staleness = 2*time.Second + 10*time.Millisecond

// process is a running userd.
type process struct {
	cmd       *exec.Cmd
	out       *bufio.Reader
	url       string // Of the service.
	adminHost string // host:port of the admin listener.
	curl      string // The command that the banner proposes.
	banner    string // All up to there.
}

var (
	serviceLine = regexp.MustCompile(`^  service   (https?://\S+)`)
	metricsLine = regexp.MustCompile(`^  metrics   http://(\S+)/metrics`)
	curlLine    = regexp.MustCompile(`^  (curl .*)`)
)

// startUserd runs the binary with these flags on free ports until the test ends.
func startUserd(t *testing.T, flags ...string) *process {
	t.Helper()
	return startLogging(t, os.Stderr, flags...)
}

// startLogging is startUserd with a log that goes elsewhere.
func startLogging(t *testing.T, log io.Writer, flags ...string) *process {
	t.Helper()
	return start(t, log, exec.Command(userdPath(t), serveArgs(flags)...))
}

// serveArgs are arguments of a server on free ports.
func serveArgs(flags []string) []string {
	return append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, flags...)
}

// start runs a command that is a server in the end, until the test ends.
func start(t *testing.T, log io.Writer, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.Stderr = log
	cmd.Env = append(cmd.Environ(), "USERD_BANNER=always") // Older programs have no such flag.
	cmd.SysProcAttr = cachetest.DieWithParent()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p := &process{cmd: cmd, out: bufio.NewReader(out)}
	p.readBanner(t)
	return p
}

// userdPath is the binary that testscript has made of this test.
func userdPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("userd")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *process) readBanner(t *testing.T) {
	t.Helper()
	for p.curl == "" {
		line, err := p.out.ReadString('\n')
		if err != nil {
			t.Fatalf("read banner: %v", err)
		}
		p.banner += line
		if match := serviceLine.FindStringSubmatch(line); match != nil {
			p.url = match[1]
		}
		if match := metricsLine.FindStringSubmatch(line); match != nil {
			p.adminHost = match[1]
		}
		if match := curlLine.FindStringSubmatch(line); match != nil {
			p.curl = match[1]
		}
	}
}

// stop ends the process with SIGTERM and returns what became of it.
func (p *process) stop(t *testing.T) error {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return p.cmd.Wait()
}

func TestBannerCommandWorksWhenPasted(t *testing.T) {
	t.Parallel()
	p := startUserd(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	out, err := exec.Command("bash", "-c", p.curl).Output()
	if err != nil {
		t.Fatalf("%s: %v", p.curl, err)
	}
	if !strings.Contains(string(out), `"email":"ada@example.com"`) {
		t.Errorf("%s: %s", p.curl, out)
	}
}

func TestTermEndsTheProcessWithZero(t *testing.T) {
	t.Parallel()
	p := startUserd(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	if err := p.stop(t); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestTermWaitsForACallUnderWay(t *testing.T) {
	t.Parallel()
	p := startUserd(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	body, writer := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/user.v1.UserService/BatchCreateUsers", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+json")
	send := func(message string) {
		t.Helper()
		prefix := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
		if _, err := writer.Write(append(prefix, message...)); err != nil { // Returns when the client has sent it.
			t.Fatal(err)
		}
	}
	answered := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			defer resp.Body.Close()
			var text []byte
			if text, err = io.ReadAll(resp.Body); err == nil && !bytes.Contains(text, []byte(`"successCount":2`)) {
				err = fmt.Errorf("%s: %s", resp.Status, text)
			}
		}
		answered <- err
	}()
	send(`{"email": "ada@example.com", "displayName": "Ada"}`)
	awaitMetric(t, p.adminHost, `rpc_server_active_calls\{.*BatchCreateUsers.*\} 1`)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	send(`{"email": "grace@example.com", "displayName": "Grace"}`)
	writer.Close()
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// awaitMetric returns when the server shows a metric like this.
func awaitMetric(t *testing.T, admin, pattern string) {
	t.Helper()
	want := regexp.MustCompile(pattern)
	for t.Context().Err() == nil {
		if want.MatchString(userdtest.Get(t, "http://"+admin+"/metrics")) {
			return
		}
	}
}

func TestHealthcheckAsksARunningServer(t *testing.T) {
	t.Parallel()
	p := startUserd(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	if out, err := exec.Command(userdPath(t), "healthcheck", "--admin-listen", p.adminHost).CombinedOutput(); err != nil {
		t.Errorf("healthcheck: %v: %s", err, out)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	t.Parallel()
	p := startUserd(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	address := strings.TrimPrefix(p.url, "http://")
	out, err := exec.Command(userdPath(t), "serve", "--listen", address, "--admin-listen", "",
		"--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--listen: listen tcp "+address+": bind: address already in use") {
		t.Errorf("second server on %s: %v: %s", address, err, out)
	}
}

// callLoudly makes calls that are logged with --log-level debug.
func callLoudly(t *testing.T, url string, calls int) {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for range calls {
		resp, err := client.Post(url+"/user.v1.UserService/SearchUsers", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
}

// startLogged starts a userd, which the test ends, and returns what it logs.
func startLogged(t *testing.T, cmd *exec.Cmd) io.Reader {
	t.Helper()
	cmd.SysProcAttr = cachetest.DieWithParent()
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return log
}

// stopInTime ends the process with SIGTERM and fails if it does not drain.
func stopInTime(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	tooLate := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer tooLate.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
