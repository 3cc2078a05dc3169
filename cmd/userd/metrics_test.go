package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userd/userdtest"
	userv1 "github.com/example/userd/gen/user/v1"
)

// scrapeEverything is the metrics of a server that has all that brings metrics.
func scrapeEverything(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	callers, pair := filepath.Join(dir, "auth"), newKeyPair(t)
	token := newTokenFor(t, callers, "prometheus", "admin")
	pair.write(t, 1, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	cmd := exec.Command(userdPath(t), serveArgs(append(pair.flags(), "--auth-file", callers, "--audit-log", filepath.Join(dir, "audit"),
		"--http2", "engine", "--redis", cachetest.Start(t).URL(), "--database", "sqlite:"+filepath.Join(dir, "userd.db")))...)
	cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1")
	p := start(t, os.Stderr, cmd)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.adminHost+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, error %v", resp.Status, err)
	}
	return string(text)
}

var (
	metricType = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	metricRow  = regexp.MustCompile("(?m)^\\| (`[a-z0-9_`, ]+`) \\| ([a-z, ]+) \\| .+ \\|$")
	metricName = regexp.MustCompile("`([a-z0-9_]+)`")
)

// Every metric is in the README with its type, and nothing else is.
func TestREADMENamesEveryMetric(t *testing.T) {
	t.Parallel()
	told := make(map[string]bool)
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Metrics\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range metricRow.FindAllStringSubmatch(section, -1) {
		names, types := metricName.FindAllStringSubmatch(row[1], -1), strings.Split(row[2], ", ")
		for i, name := range names {
			told[name[1]+" "+types[min(i, len(types)-1)]] = true
		}
	}
	shown := make(map[string]bool)
	for _, metric := range metricType.FindAllStringSubmatch(scrapeEverything(t), -1) {
		if !strings.HasPrefix(metric[1], "go_") && !strings.HasPrefix(metric[1], "process_") {
			shown[metric[1]+" "+metric[2]] = true
		}
	}
	if lacking := missing(shown, told); len(lacking) > 0 {
		t.Errorf("README.md lacks %q", lacking)
	}
	if lacking := missing(told, shown); len(lacking) > 0 {
		t.Errorf("/metrics lacks %q", lacking)
	}
}

// missing are those that one has and another has not.
func missing(one, another map[string]bool) (names []string) {
	for name := range one {
		if !another[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// The metrics of a server show what becomes of its database: calls that hold connections, and
// a cache that is not trusted while the log cannot be read.
func TestMetricsShowTheDatabase(t *testing.T) {
	t.Parallel()
	url := newPostgres(t)
	p := startUserd(t, "--database", url)
	client := grpcClient(t, p.url)
	calls, vital := `userd_store_pool_connections\{pool="calls",state="in_use"\} `, `userd_store_pool_connections\{pool="vital",state="in_use"\} `
	awaitMetric(t, p.adminHost, `userd_cache_trusted 1\n`)
	awaitMetric(t, p.adminHost, `userd_cache_staleness_seconds 0\.\d`)
	awaitMetric(t, p.adminHost, calls+`0\n`)
	unlock := lockTable(t, url, "users in exclusive mode")
	var creates sync.WaitGroup
	for i := range 3 {
		creates.Go(func() {
			_, err := client.CreateUser(t.Context(), &userv1.CreateUserRequest{Email: fmt.Sprintf("u%d@example.com", i), DisplayName: "Ada"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	awaitMetric(t, p.adminHost, calls+`3\n`)
	unlock()
	creates.Wait()
	awaitMetric(t, p.adminHost, calls+`0\n`)
	unlock = lockTable(t, url, "meta in access exclusive mode")
	awaitMetric(t, p.adminHost, vital+`[1-9]`)
	awaitMetric(t, p.adminHost, `userd_cache_trusted 0\n`)
	awaitMetric(t, p.adminHost, `userd_cache_staleness_seconds 0\n`)
	unlock()
	awaitMetric(t, p.adminHost, `userd_cache_trusted 1\n`)
}

// lockTable locks a table of a database until it is told to unlock it.
func lockTable(t *testing.T, url, how string) (unlock func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "begin; lock table "+how); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// Prometheus's own check of names, types and texts finds nothing.
func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(userdtest.Program(t, "promtool"), "check", "metrics")
	var ours strings.Builder // What is said of metrics of the client library is not for us to mend.
	for line := range strings.Lines(scrapeEverything(t)) {
		if name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "); !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			ours.WriteString(line)
		}
	}
	cmd.Stdin = strings.NewReader(ours.String())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
