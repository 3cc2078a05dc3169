package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// startWait is how long a server may take to start or to stop.
const startWait = 30 * time.Second

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
	command.Env = append(os.Environ(), "USERD_BANNER=always") // No flag: older trees have none.
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
	if err := s.readBanner(reader, slices.Contains(args, "--admin-listen")); err != nil {
		p.kill()
		return nil, fmt.Errorf("%s %s: read banner: %w: %s", program, strings.Join(args, " "), err, p.output)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }() // Ends with the process.
	return s, nil
}

// ServeAt starts a program that was told to listen at an address, on the server's processors, and
// returns when it does.
func (l *Lab) ServeAt(ctx context.Context, address, program string, args ...string) (*Server, error) {
	s := &Server{Address: address, Began: time.Now()}
	var err error
	if s.process, err = l.start(exec.CommandContext(ctx, program, args...), l.Cores.Server); err != nil {
		return nil, err
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for time.Since(s.Began) < startWait {
		if connection, err := net.Dial("tcp", address); err == nil {
			return s, connection.Close()
		}
		select {
		case <-look.C:
		case <-s.exited:
			return nil, fmt.Errorf("%s has ended: %s", program, s.output)
		}
	}
	s.kill()
	return nil, fmt.Errorf("%s does not listen: %s", program, s.output)
}

// Userd starts userd with a metrics listener.
func (l *Lab) Userd(ctx context.Context, pinned bool, program string, flags ...string) (*Server, error) {
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-level", "warn"}, flags...)
	return l.Serve(ctx, pinned, program, args...)
}

// readBanner reads the addresses that a server prints, each behind its name.
func (s *Server) readBanner(out *bufio.Reader, withMetrics bool) error {
	for s.Address == "" || withMetrics && s.metrics == "" {
		line, err := out.ReadString('\n')
		if err != nil {
			return err
		}
		name, address, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch address = strings.TrimSpace(address); name {
		case "service":
			s.Address = strings.TrimPrefix(address, "http://")
		case "metrics":
			s.metrics = address
		}
	}
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

// AwaitIdle waits until the server does next to nothing: after an import it still brings
// indexes up to date, beside what is measured then.
func (s *Server) AwaitIdle(ctx context.Context) error {
	const part = 20 // Of the time.
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	for last, at := time.Duration(-1), time.Now(); ; {
		used, err := s.CPU()
		if err != nil || last >= 0 && used-last < time.Since(at)/part {
			return err
		}
		last, at = used, time.Now()
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Metrics are the values of a server's metrics at a moment, by name.
type Metrics map[string]*dto.MetricFamily

// Metrics reads the server's metrics.
func (s *Server) Metrics(ctx context.Context) (Metrics, error) {
	text, err := fetch(ctx, s.metrics)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

// Sum adds the values of a counter, or the counts of a histogram, that have a label
// with this value; "" takes all.
func (m Metrics) Sum(name, label string) (sum float64) {
	for _, metric := range m[name].GetMetric() {
		if label == "" || slices.ContainsFunc(metric.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == label }) {
			sum += metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// ByLabel returns the values of a counter that has one label, by the values of that.
func (m Metrics) ByLabel(name string) map[string]float64 {
	values := make(map[string]float64)
	for _, metric := range m[name].GetMetric() {
		for _, label := range metric.GetLabel() {
			values[label.GetValue()] = metric.GetCounter().GetValue()
		}
	}
	return values
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
