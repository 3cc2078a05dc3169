//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
	"github.com/example/userd/server"
	"github.com/example/userd/store"
	"github.com/example/userd/store/storetest/transcript"
)

// The connections that are allowed fit the files that may be open, with a reserve.
func TestConnectionsFitOpenFiles(t *testing.T) {
	t.Parallel()
	pool := store.Capacity{Reads: 16}
	for _, test := range []struct{ wanted, files, most int }{
		{10_000, 1 << 20, 10_000},
		{10_000, 1024, 1024},
		{10_000, 256, 256},
		{100, 1024, 100},
		{4, 16, 4},
	} {
		got := fitConnections(test.wanted, test.files, pool)
		all := got + got/16 + server.AdminConnections + filesPerRead*pool.Reads + reservedFiles
		if got > test.most || got < test.most/4 || got < test.wanted && all > test.files {
			t.Errorf("%d connections for %d of %d files", got, test.wanted, test.files)
		}
	}
}

// With few files and connections of callers that take all there are, the service and the
// admin listener go on.
func TestFewOpenFiles(t *testing.T) {
	t.Parallel()
	const files = 160
	log := new(transcript.Log)
	args := serveArgs([]string{"--database", "sqlite:" + filepath.Join(t.TempDir(), "userd.db"), "--log-format", "text"})
	shell := append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files), userdPath(t)}, args...)
	p := start(t, log, exec.Command("sh", shell...))
	idle := make([]net.Conn, 2*files)
	defer func() {
		for _, conn := range idle {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	for i := range idle {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		idle[i] = conn
		_, err = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, readErr := conn.Read(make([]byte, 1)); err != nil || readErr != nil {
			t.Fatalf("connection %d is not served: %v, %v", i, err, readErr)
		}
	}
	if metrics := userdtest.Get(t, "http://"+p.adminHost+"/metrics"); !strings.Contains(metrics, "userd_connections_evicted_total") {
		t.Errorf("metrics do not tell of connections that made room")
	}
	if err := p.stop(t); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "fewer connections than --max-connections") {
		t.Errorf("the log does not say that there are too few files:\n%s", log)
	}
	if strings.Contains(log.String(), "cannot be accepted") {
		t.Errorf("there were too few files all the same:\n%s", log)
	}
}
