package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
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
	"github.com/example/userd/store/storetest/transcript"
)

// Times of the files, and what they are in tests.
var (
	window  = regexp.MustCompile(`\[\d+m\]`)
	pending = regexp.MustCompile(`(?m)^( +for:) \w+$`)
)

const shortWindow = "[3s]"

// prometheus is a Prometheus that looks at a server five times a second.
type prometheus struct {
	t   *testing.T
	url string
}

// startPrometheus runs Prometheus with the configuration and the alerts as they stand, but for
// their times and the address of the server, until the test ends. The token is that of a caller
// with the scope admin, or "".
func startPrometheus(t *testing.T, server *userdtest.Userd, token string) *prometheus {
	t.Helper()
	folder := t.TempDir()
	host := strings.TrimSuffix(strings.TrimPrefix(server.Metrics, "http://"), "/metrics")
	config := replaceOnce(t, readFile(t, "prometheus/prometheus.yml"), map[string]string{
		"scrape_interval: 15s": "scrape_interval: 200ms", "evaluation_interval: 15s": "evaluation_interval: 500ms", "userd:9090": host,
	})
	if token != "" {
		config += "    authorization: {credentials: " + token + "}\n"
	}
	alerts := window.ReplaceAllString(readFile(t, "prometheus/alerts.yaml"), shortWindow)
	alerts = pending.ReplaceAllString(alerts, "$1 0s")
	for name, text := range map[string]string{"prometheus.yml": config, "alerts.yaml": alerts} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := cachetest.FreeAddress(t)
	log := new(transcript.Log)
	cmd := exec.Command(userdtest.Program(t, "prometheus"), "--config.file", filepath.Join(folder, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(folder, "data"), "--web.listen-address", address, "--log.level", "warn")
	cmd.Stdout, cmd.Stderr = log, log
	userdtest.DieWithTest(cmd, syscall.SIGKILL)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus: %s", log)
		}
	})
	p := &prometheus{t: t, url: "http://" + address}
	p.await("Prometheus knows the server", func() bool { return len(p.query(`up == 1`)) == 1 })
	return p
}

// patience is how long a test waits for what has to come.
const patience = time.Minute

// await returns when something is so. Prometheus tells of nothing, so it is asked.
func (p *prometheus) await(what string, so func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			p.t.Fatalf("after %v it is not so that %s", patience, what)
		}
	}
}

// sample is a time series with its value now.
type sample struct {
	Metric map[string]string
	Value  [2]any // Time, and the value as text.
}

// result is what Prometheus answers.
type result struct {
	Status, Error string
	Data          json.RawMessage
}

// query evaluates an expression. While Prometheus starts there is nothing.
func (p *prometheus) query(expression string) []sample {
	p.t.Helper()
	var data struct{ Result []sample }
	p.get("/api/v1/query?query="+url.QueryEscape(expression), &data)
	return data.Result
}

// get returns what the API has at a path; nothing before it listens.
func (p *prometheus) get(path string, data any) {
	p.t.Helper()
	resp, err := http.Get(p.url + path)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	var answer result
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		if resp.StatusCode == http.StatusServiceUnavailable {
			return
		}
		p.t.Fatalf("%s: %s: %v", path, resp.Status, err)
	}
	if answer.Status != "success" {
		p.t.Fatalf("%s: %s", path, answer.Error)
	}
	if err := json.Unmarshal(answer.Data, data); err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
}

// rule is an alert with its expression, as Prometheus has read it.
type rule struct {
	Name, Query, State, Health, LastError string
	Labels, Annotations                   map[string]string
}

func (p *prometheus) rules() []rule {
	p.t.Helper()
	var data struct{ Groups []struct{ Rules []rule } }
	p.get("/api/v1/rules", &data)
	if len(data.Groups) != 1 {
		p.t.Fatalf("there are %d groups of rules", len(data.Groups))
	}
	return data.Groups[0].Rules
}

// awaitAlert returns when an alert fires, or when it does not any more.
func (p *prometheus) awaitAlert(name string, fires bool) {
	p.t.Helper()
	p.await(fmt.Sprintf("%s fires: %t", name, fires), func() bool {
		for _, rule := range p.rules() {
			if rule.Name == name {
				return (rule.State == "firing") == fires
			}
		}
		p.t.Fatalf("there is no alert %s", name)
		return false
	})
}
