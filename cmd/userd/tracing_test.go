package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userd/cli"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
)

// TestTracesGoToTheCollector runs a server with the standard variable of
// OpenTelemetry and looks for the span of a call, and for what must not be in it.
func TestTracesGoToTheCollector(t *testing.T) {
	spans := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		spans <- r.URL.Path + string(body) // Protobuf; strings stand in it as they are.
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	p := startUserd(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	if out, err := exec.Command("bash", "-c", p.curl).Output(); err != nil {
		t.Fatalf("%s: %v: %s", p.curl, err, out)
	}
	if err := p.stop(t); err != nil { // Sends what is left.
		t.Fatal(err)
	}
	exported := <-spans
	if !strings.HasPrefix(exported, "/v1/traces") || !strings.Contains(exported, "user.v1.UserService/CreateUser") {
		t.Errorf("exported: %q", exported)
	}
	if host, err := os.Hostname(); err != nil || !strings.Contains(exported, "host.name") || !strings.Contains(exported, host) {
		t.Errorf("of several servers nobody knows which it was: %q, error %v", exported, err)
	}
	if strings.Contains(exported, "ada@example.com") || strings.Contains(exported, "Ada") {
		t.Errorf("a span holds personal data: %q", exported)
	}
}

// Spans that wait for a collector that is frozen are as many as the variable says. What becomes
// of all others is counted.
func TestSpansAreCounted(t *testing.T) {
	t.Parallel()
	answer := make(chan int)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(cmp.Or(<-answer, http.StatusOK)) }))
	defer collector.Close()
	defer close(answer)
	cmd := exec.Command(userdPath(t), serveArgs([]string{"--database", "sqlite:" + filepath.Join(t.TempDir(), "userd.db")})...)
	cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_BSP_MAX_QUEUE_SIZE=3", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=2",
		"OTEL_BSP_SCHEDULE_DELAY=600000")
	p := start(t, os.Stderr, cmd)
	awaitSpans := func(exported, failed, dropped int) {
		t.Helper()
		for outcome, count := range map[string]int{"exported": exported, "failed": failed, "dropped": dropped} {
			awaitMetric(t, p.adminHost, fmt.Sprintf("userd_trace_spans_total\\{outcome=%q\\} %d\n", outcome, count))
		}
	}
	awaitSpans(0, 0, 0)
	client := grpcClient(t, p.url)
	call := func() { // Each has a span of its own, and one of the store.
		t.Helper()
		if _, err := client.GetUserByEmail(t.Context(), &userv1.GetUserByEmailRequest{Email: "nobody@example.com"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		call()
	}
	awaitSpans(0, 0, 3)
	answer <- http.StatusOK
	awaitSpans(2, 0, 3)
	call()
	answer <- http.StatusBadRequest
	awaitSpans(2, 2, 3)
}

// A setting that makes no sense is refused as one, in a line that names the variable and not
// what it holds.
func TestWrongSettingsOfTracesAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, want string }{
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"},
		{"OTEL_TRACES_SAMPLER", "sometimes", "OTEL_TRACES_SAMPLER must be"},
		{"OTEL_RESOURCE_ATTRIBUTES", "sometimes", "missing value"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "secret:4318", "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL with http:// or https://"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "://secret", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be a URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(userdPath(t), "serve", "--listen", "127.0.0.1:0", "--admin-listen", "",
				"--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
			cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", test.name+"="+test.value)
			cmd.SysProcAttr = cachetest.DieWithParent()
			var out strings.Builder
			cmd.Stderr = &out
			tooLate := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
			defer tooLate.Stop()
			err := cmd.Run()
			if cmd.ProcessState.ExitCode() != cli.WrongUse || !strings.Contains(out.String(), test.want) || strings.Contains(out.String(), "secret") {
				t.Errorf("serve: %v: %s", err, &out)
			}
		})
	}
}

// What OpenTelemetry says of a setting is a line of the log, without what may be a password.
func TestOpenTelemetrySpeaksThroughTheLog(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(userdPath(t), "serve", "--listen", "127.0.0.1:0", "--admin-listen", "",
		"--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20secret%zz")
	log := startLogged(t, cmd)
	told := false
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct{ Msg, Error string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("%q is no line of the log: %v", lines.Text(), err)
		}
		if strings.Contains(lines.Text(), "secret") {
			t.Errorf("the log has a secret: %s", lines.Text())
		}
		told = told || strings.Contains(line.Error, "invalid URL escape")
		if line.Msg == "serving" {
			break
		}
	}
	if !told {
		t.Error("the log does not say what is wrong")
	}
	go io.Copy(io.Discard, log) // So that the server can go on.
	stopInTime(t, cmd)
}

// A collector that is away fails all that is sent to it, many times a second on a busy server.
func TestFailuresOfTheCollectorAreSaidOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		errs := traceErrors{logger: slog.New(slog.NewJSONHandler(&log, nil))}
		for range 1000 {
			errs.Handle(errors.New("connection refused"))
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 {
			t.Errorf("a thousand failures at a time have %d lines", lines)
		}
		time.Sleep(traceErrorInterval)
		log.Reset()
		errs.Handle(errors.New("connection refused"))
		if !strings.Contains(log.String(), `"error":"connection refused","left_out":999`) {
			t.Errorf("later the log says %q", &log)
		}
	})
}

func TestTracingCanBeSwitchedOff(t *testing.T) {
	for _, test := range []struct{ name, value string }{
		{"OTEL_SDK_DISABLED", "true"}, {"OTEL_SDK_DISABLED", "TRUE"}, {"OTEL_TRACES_EXPORTER", "none"},
	} {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(test.name, test.value)
			var config server.Config
			stop, err := tracing(t.Context(), &config, prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			if config.Tracer != nil {
				t.Error("there are traces")
			}
		})
	}
}

// What is said of traces wins over what is said of all that is exported.
func TestTheProtocolOfTracesWins(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
	var config server.Config
	stop, err := tracing(t.Context(), &config, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	stop()
}
