package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Server is a running server with the service of user.v1 or a part of it.
type Server struct {
	*process
	// Address is host:port of the service.
	Address string
	// Began is when the process was started.
	Began   time.Time
	metrics string // URL; "" where there are none.
}

// Serve starts a program that prints a banner with its address. It is pinned to
// the server's processors, or not at all.
func (l *Lab) Serve(ctx context.Context, pinned bool, program string, args ...string) (*Server, error) {
	command := exec.CommandContext(ctx, program, args...)
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cores := l.Cores.All
	if pinned {
		cores = l.Cores.Server
	}
	began := time.Now()
	p, err := l.start(command, cores)
	if err != nil {
		return nil, err
	}
	s := &Server{process: p, Began: began}
	reader := bufio.NewReader(out)
	if err := s.readBanner(reader); err != nil {
		p.kill()
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, p.output)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }() // Ends with the process.
	return s, nil
}

// Userd starts userd with a metrics listener.
func (l *Lab) Userd(ctx context.Context, pinned bool, program string, flags ...string) (*Server, error) {
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-level", "warn"}, flags...)
	return l.Serve(ctx, pinned, program, args...)
}

func (s *Server) readBanner(out *bufio.Reader) error {
	words := []string{"service"}
	if strings.Contains(strings.Join(s.command.Args, " "), "--admin-listen") {
		words = append(words, "metrics")
	}
	found, err := banner(out, words...)
	if err != nil {
		return err
	}
	s.Address = strings.TrimPrefix(found["service"], "http://")
	s.metrics = found["metrics"]
	return nil
}

// Stop ends the server at once.
func (s *Server) Stop() { s.kill() }

// Drain ends the server as an operator does and returns when it has written
// everything.
func (s *Server) Drain() error {
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timeout := time.NewTimer(startWait)
	defer timeout.Stop()
	select {
	case <-s.exited:
		return nil
	case <-timeout.C:
		return errors.New("the server does not stop")
	}
}

// Metrics are the values of a server's metrics at a moment, by name and labels as
// they are printed.
type Metrics map[string]float64

// Metrics reads the server's metrics.
func (s *Server) Metrics(ctx context.Context) (Metrics, error) {
	if s.metrics == "" {
		return nil, errors.New("the server has no metrics")
	}
	text, err := fetch(ctx, s.metrics)
	if err != nil {
		return nil, err
	}
	return parseMetrics(string(text))
}

// Profile is the CPU profile of a server over some time.
func (s *Server) Profile(ctx context.Context, duration time.Duration) ([]byte, error) {
	address := strings.TrimSuffix(s.metrics, "/metrics") + fmt.Sprintf("/debug/pprof/profile?seconds=%.0f", duration.Seconds())
	return fetch(ctx, address)
}

// fetch is what there is at a URL.
func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

func parseMetrics(text string) (Metrics, error) {
	metrics := make(Metrics)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		var value float64
		if _, err := fmt.Sscan(line[at+1:], &value); err != nil {
			return nil, fmt.Errorf("metric %q: %w", line, err)
		}
		metrics[line[:at]] = value
	}
	return metrics, nil
}

// Sum adds the values of a metric over all labels that have these parts, and
// reports whether there are any.
func (m Metrics) Sum(name string, labels ...string) (sum float64, ok bool) {
	for key, value := range m {
		if found, rest, _ := strings.Cut(key, "{"); found != name || !containsAll(rest, labels) {
			continue
		}
		sum, ok = sum+value, true
	}
	return sum, ok
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}
