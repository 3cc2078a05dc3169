package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
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
func (p *process) CPU() (used time.Duration, err error) {
	threads, err := procfs.AllThreads(p.command.Process.Pid)
	for _, thread := range threads {
		// A thread that has ended has none.
		if times, err := thread.Schedstat(); err == nil {
			used += time.Duration(times.RunningNanoseconds)
		}
	}
	return used, err
}

// Memory is the resident memory of the process, and the most that it has had since
// ResetPeak or its start, in bytes.
func (p *process) Memory() (now, peak int64, err error) {
	account, err := procfs.NewProc(p.command.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	status, err := account.NewStatus()
	return int64(status.VmRSS), int64(status.VmHWM), err
}

// Anonymous is the part of the resident memory that is of no file, in bytes. The system can
// take back the other part, pages of the program, at any time.
func (p *process) Anonymous() (int64, error) {
	account, err := procfs.NewProc(p.command.Process.Pid)
	if err != nil {
		return 0, err
	}
	status, err := account.NewStatus()
	return int64(status.RssAnon), err
}

// ResetPeak lets the peak count from now.
func (p *process) ResetPeak() error {
	const peakOnly = "5" // See proc_pid_clear_refs(5).
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.command.Process.Pid), []byte(peakOnly), 0)
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
