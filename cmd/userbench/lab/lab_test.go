package lab

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
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

func TestMetricsAreSummedByLabel(t *testing.T) {
	t.Parallel()
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE a counter\na{x=\"1\",y=\"p\"} 2\na{x=\"2\",y=\"p\"} 3.5\n# TYPE b histogram\nb_bucket{le=\"+Inf\"} 7\nb_sum 1\nb_count 7\n")
	}))
	defer metrics.Close()
	server := &Server{}
	banner := "userd is serving\n\n  service   http://127.0.0.1:1\n  metrics   " + metrics.URL + "/metrics\n"
	if err := server.readBanner(bufio.NewReader(strings.NewReader(banner)), true); err != nil || server.Address != "127.0.0.1:1" {
		t.Fatalf("address %q, %v", server.Address, err)
	}
	m, err := server.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if all, one, none, calls := m.Sum("a", ""), m.Sum("a", "2"), m.Sum("a", "3"), m.Sum("b", ""); all != 5.5 || one != 3.5 || none != 0 || calls != 7 {
		t.Errorf("%g, %g, %g, %g", all, one, none, calls)
	}
}

func TestABannerWithoutAnAddressIsAnError(t *testing.T) {
	t.Parallel()
	if err := new(Server).readBanner(bufio.NewReader(strings.NewReader("no\n")), false); err == nil {
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
	if err := p.ResetPeak(); err != nil {
		t.Fatal(err)
	}
	if memory, peak, err := p.Memory(); err != nil || memory < 100<<10 || peak < memory {
		t.Errorf("%d bytes, peak of %d, %v", memory, peak, err)
	}
	memory, _, err := p.Memory()
	if anonymous, anonymousErr := p.Anonymous(); errors.Join(err, anonymousErr) != nil || anonymous <= 0 || anonymous >= memory {
		t.Errorf("%d bytes of %d are anonymous, %v, %v", anonymous, memory, err, anonymousErr)
	}
}

func TestPostgresAndRedisRun(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	postgres, err := l.Postgres()
	if err != nil {
		t.Fatal(err)
	}
	if rate, err := postgres.Pgbench("postgres", `\set n random(1, 9)`+"\nselect :n;\n", 2, time.Second); err != nil || rate <= 0 {
		t.Errorf("%f transactions a second, %v", rate, err)
	}
	if _, err := postgres.SQL("postgres", "select nonsense"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
	redis, err := l.Redis()
	if err != nil {
		t.Fatal(err)
	}
	if version, err := redis.Version(); err != nil || version == "" {
		t.Errorf("version %q, %v", version, err)
	}
}
