package lab

import (
	"bufio"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestServerAndLoadShareNoProcessor(t *testing.T) {
	t.Parallel()
	for n := range 9 {
		var cores []int
		for i := range n {
			cores = append(cores, 2*i)
		}
		c := share(cores)
		for _, core := range c.Server {
			if slices.Contains(c.Load, core) || slices.Contains(c.Stores, core) {
				t.Errorf("of %d processors %d is the server's and another's", n, core)
			}
		}
		if n >= 2 && (len(c.Server) != 1 || len(c.Load) != 1 || len(c.Stores) == 0) {
			t.Errorf("%d processors: %v", n, c)
		}
	}
}

func TestMetricsAreSummedByLabels(t *testing.T) {
	t.Parallel()
	m, err := parseMetrics("# HELP a b\na{x=\"1\",y=\"p\"} 2\na{x=\"2\",y=\"p\"} 3.5\nab 7\na_count 1e3\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
		ok     bool
	}{
		{"a", nil, 5.5, true},
		{"a", []string{`x="2"`}, 3.5, true},
		{"ab", nil, 7, true},
		{"a_count", nil, 1000, true},
		{"a", []string{`x="3"`}, 0, false},
	} {
		if got, ok := m.Sum(c.name, c.labels...); got != c.want || ok != c.ok {
			t.Errorf("%s %v: %g, %t", c.name, c.labels, got, ok)
		}
	}
	if _, err := parseMetrics("a nonsense\n"); err == nil {
		t.Error("no error")
	}
}

func TestBannerIsRead(t *testing.T) {
	t.Parallel()
	out := bufio.NewReader(strings.NewReader("userd is serving\n\n  service   http://127.0.0.1:1\n  metrics   http://127.0.0.1:2/metrics\n"))
	found, err := banner(out, "service", "metrics")
	if err != nil || found["service"] != "http://127.0.0.1:1" || found["metrics"] != "http://127.0.0.1:2/metrics" {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := banner(bufio.NewReader(strings.NewReader("no\n")), "service"); err == nil {
		t.Error("no error")
	}
}

func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestProcessesRunOnTheirProcessors(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if len(l.Cores.Server) == 0 {
		t.Skip("there is only one processor")
	}
	var out strings.Builder
	command := exec.Command("sh", "-c", "grep Cpus_allowed_list /proc/self/status")
	command.Stdout = &out
	p, err := l.start(command, l.Cores.Server)
	if err != nil {
		t.Fatal(err)
	}
	<-p.exited
	if _, list, _ := strings.Cut(out.String(), ":"); strings.TrimSpace(list) != strconv.Itoa(l.Cores.Server[0]) {
		t.Errorf("allowed are %s of %s", list, l.Cores)
	}
}

func TestProcessesTellWhatTheyUse(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p, err := l.start(exec.Command("sh", "-c", "while :; do :; done"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for used := time.Duration(0); used < 10*time.Millisecond; {
		if used, err = p.CPU(); err != nil {
			t.Fatal(err)
		}
	}
	if memory, err := p.Memory(); err != nil || memory < 100<<10 {
		t.Errorf("%d bytes, %v", memory, err)
	}
	if err := p.ResetPeak(); err != nil {
		t.Fatal(err)
	}
	if peak, err := p.Peak(); err != nil || peak < 100<<10 {
		t.Errorf("peak of %d bytes, %v", peak, err)
	}
}

func TestPostgresAndRedisRun(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	postgres, err := l.Postgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := postgres.CreateDatabase(t.Context(), "one", ""); err != nil {
		t.Fatal(err)
	}
	if rate, err := postgres.Pgbench(t.Context(), "one", `\set n random(1, 9)`+"\nselect :n;\n", 2, time.Second); err != nil || rate <= 0 {
		t.Errorf("%f transactions a second, %v", rate, err)
	}
	if n, err := postgres.Transactions(t.Context(), "one"); err != nil || n <= 0 {
		t.Errorf("%f transactions, %v", n, err)
	}
	if _, err := postgres.SQL(t.Context(), "one", "select nonsense"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
	redis, err := l.Redis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, err := redis.Commands()
	if err != nil {
		t.Fatal(err)
	}
	if after, err := redis.Commands(); err != nil || after <= before {
		t.Errorf("%f commands after %f, %v", after, before, err)
	}
	if version, err := redis.Version(); err != nil || version == "" {
		t.Errorf("version %q, %v", version, err)
	}
}
