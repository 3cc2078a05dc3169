package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a running program.
type process struct {
	command *exec.Cmd
	output  *tail
	exited  chan struct{}
}

// start starts a command on these processors. It ends with the lab.
func (l *Lab) start(command *exec.Cmd, cores []int) (*process, error) {
	p := &process{command: command, output: new(tail), exited: make(chan struct{})}
	if command.Stdout == nil {
		command.Stdout = p.output
	}
	command.Stderr = p.output
	dieWithParent(command, syscall.SIGTERM)
	if err := onCores(cores, command.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(command.Path), err)
	}
	go func() {
		defer close(p.exited)
		_ = command.Wait() // Nobody waits for a good end of a server.
	}()
	l.stop = append(l.stop, p.kill)
	return p, nil
}

// kill ends the process and returns when it is gone.
func (p *process) kill() {
	_ = p.command.Process.Kill() // It may be gone.
	<-p.exited
}

// CPU is the processor time that the process has used.
func (p *process) CPU() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.command.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return 0, errors.New("the system does not tell the processor time of a process")
	}
	var used time.Duration
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // A thread that has ended.
		}
		first, _, _ := strings.Cut(string(text), " ")
		nanoseconds, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", task, err)
		}
		used += time.Duration(nanoseconds)
	}
	return used, nil
}

// Memory is the resident memory of the process, in bytes.
func (p *process) Memory() (int64, error) { return p.status("VmRSS:") }

// Peak is the most resident memory that the process has had since ResetPeak or its
// start, in bytes.
func (p *process) Peak() (int64, error) { return p.status("VmHWM:") }

// ResetPeak lets the peak count from now.
func (p *process) ResetPeak() error {
	const peakOnly = "5" // See proc_pid_clear_refs(5).
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.command.Process.Pid), []byte(peakOnly), 0)
}

// status is a size in the system's account of the process, in bytes.
func (p *process) status(name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the system does not tell the memory of a process")
}

// tail keeps the end of what a process prints, for errors.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// tailBytes is how much of it is kept.
const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text = t.text[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}

// banner reads the lines of a server's banner until it has all of these words, and
// returns what stands behind each.
func banner(out *bufio.Reader, words ...string) (map[string]string, error) {
	found := make(map[string]string)
	for len(found) < len(words) {
		line, err := out.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("read banner: %w", err)
		}
		fields := strings.Fields(line)
		for _, word := range words {
			if len(fields) == 2 && fields[0] == word {
				found[word] = fields[1]
			}
		}
	}
	return found, nil
}
