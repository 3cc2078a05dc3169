//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/example/userd/cmd/userd/userdtest"
)

// fullPipe is a pipe that takes nothing more until it is read.
func fullPipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		reader.Close()
		writer.Close()
	})
	size, err := unix.FcntlInt(writer.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	return reader, writer
}

// logLineAtLeast is less than a line of the log has, in bytes.
const logLineAtLeast = 100

func TestLogThatNobodyReadsStopsNothing(t *testing.T) {
	t.Parallel()
	_, log := fullPipe(t)
	p := startLogging(t, log, "--log-level", "debug", "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	callLoudly(t, p.url, 20)
	stopInTime(t, p.cmd)
}

func TestDroppedLogLinesAreCounted(t *testing.T) {
	t.Parallel()
	reader, log := fullPipe(t)
	p := startLogging(t, log, "--log-level", "debug", "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	for dropped(t, p.adminHost) == 0 {
		callLoudly(t, p.url, outputBytes/logLineAtLeast/10)
	}
	said := make(chan string, 1)
	go func() {
		lines := bufio.NewReader(reader)
		for {
			line, err := lines.ReadString('\n')
			if err != nil || strings.Contains(line, "lines of the log were dropped") {
				said <- line
				_, _ = io.Copy(io.Discard, lines)
				return
			}
		}
	}()
	if line := <-said; !regexp.MustCompile(`"lines":[1-9]`).MatchString(line) {
		t.Errorf("the log says %q of dropped lines", line)
	}
	stopInTime(t, p.cmd)
}

// dropped is how many lines of the log were dropped, as the metric has it.
func dropped(t *testing.T, admin string) int {
	t.Helper()
	match := regexp.MustCompile(`(?m)^userd_log_lines_dropped_total (\d+)$`).FindStringSubmatch(userdtest.Get(t, "http://"+admin+"/metrics"))
	if match == nil {
		t.Fatal("there is no metric for dropped lines")
	}
	lines, err := strconv.Atoi(match[1])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestLogReaderThatHasGoneStopsNothing(t *testing.T) {
	t.Parallel()
	reader, log := fullPipe(t)
	p := startLogging(t, log, "--log-level", "debug", "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	reader.Close()
	callLoudly(t, p.url, 20)
	if dropped(t, p.adminHost) == 0 {
		t.Error("no line was counted as dropped")
	}
	stopInTime(t, p.cmd)
}

func TestStandardOutputThatNobodyReadsStopsNothing(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"nobody reads": false, "the reader has gone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reader, out := fullPipe(t)
			if gone {
				reader.Close()
			}
			cmd := exec.Command(userdPath(t), "serve", "--banner", "always", "--listen", "127.0.0.1:0", "--admin-listen", "",
				"--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
			cmd.Stdout = out
			log := startLogged(t, cmd)
			callLoudly(t, "http://"+servingAt(t, log), 20)
			stopInTime(t, cmd)
		})
	}
}

// servingAt is the address that the log names.
func servingAt(t *testing.T, log io.Reader) string {
	t.Helper()
	var line struct{ Msg, Listen string }
	for lines := json.NewDecoder(log); line.Msg != "serving"; {
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
	}
	return line.Listen
}

// A command that fails ends, also if nobody reads why.
func TestErrorThatNobodyReadsEndsTheCommand(t *testing.T) {
	t.Parallel()
	_, log := fullPipe(t)
	cmd := exec.CommandContext(t.Context(), userdPath(t), "serve", "--http2", "quick")
	cmd.Stderr = log
	tooLate := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer tooLate.Stop()
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("the command ends with %v", err)
	}
}
