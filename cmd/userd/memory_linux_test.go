package main

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/procfs"

	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store/storetest/transcript"
)

// hostile is a request that costs a server more memory than it seems to.
type hostile struct {
	name, method, codec, encoding string
	body                          string
	many                          int // So many come at once.
}

func hostileRequests(t *testing.T) []hostile {
	const largest = 16 << 20 // A message, in bytes.
	ids := strings.Repeat("\x0a\x00", largest/2)
	blanks := fmt.Sprintf(`{"email": "a@example.com", "displayName": "Ada"%s}`, strings.Repeat(" ", largest-100))
	brackets := `{"roles":` + strings.Repeat("[", largest-100)
	return []hostile{
		{"roles without letters", "CreateUser", "proto", "", strings.Repeat("\x1a\x00", 30<<10), 150},
		{"ids without letters", "BatchGetUsers", "proto", "", ids, 20},
		{"ids without letters in JSON", "BatchGetUsers", "json", "", `{"userIds":[` + strings.Repeat(`"",`, largest/3-10) + `""]}`, 20},
		{"packed ids without letters", "BatchGetUsers", "proto", "zstd", packed(t, ids), 100},
		{"packed blanks", "CreateUser", "json", "zstd", packed(t, blanks), 100},
		{"brackets", "CreateUser", "json", "", brackets, 20},
		{"packed brackets", "CreateUser", "json", "zstd", packed(t, brackets), 100},
	}
}

func packed(t *testing.T, text string) string {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoder.EncodeAll([]byte(text), nil))
}

// Whatever is sent to a server, it keeps to the memory of its container.
func TestKeepsToItsMemory(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "userd")
	shell(t, root, "go build -o "+binary+" ./cmd/userd") // Without the race detector, which needs memory itself.
	for _, h := range hostileRequests(t) {
		t.Run(h.name, func(t *testing.T) { // One at a time.
			const container, limit = 256 << 20, "GOMEMLIMIT=201MiB" // As goMemory has it.
			cmd := exec.Command(binary, serveArgs([]string{"--database", "sqlite:" + filepath.Join(t.TempDir(), "userd.db")})...)
			cmd.Env = append(cmd.Environ(), limit)
			p := start(t, new(transcript.Log), cmd)
			var group sync.WaitGroup
			for range h.many {
				group.Go(func() { h.send(t, p.url) })
			}
			group.Wait()
			if most := peakMemory(t, cmd.Process.Pid); most > container {
				t.Errorf("it has had %d MiB", most>>20)
			}
			if err := p.stop(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// peakMemory is the most memory that a process has had, but for what it has of files, which
// the system takes back when it must.
func peakMemory(t *testing.T, pid int) uint64 {
	t.Helper()
	process, err := procfs.NewProc(pid)
	if err != nil {
		t.Fatal(err)
	}
	status, err := process.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	return status.VmHWM - status.RssFile
}

// send sends the request. It may be refused, but not left without an answer.
func (h hostile) send(t *testing.T, url string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/user.v1.UserService/"+h.method, strings.NewReader(h.body))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/"+h.codec)
	if h.encoding != "" {
		req.Header.Set("Content-Encoding", h.encoding)
	}
	resp, err := servertest.HTTP2(t).Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
}
