package clienttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"

	"github.com/example/userd/cmd/userd/userdtest"
)

// process is a program that dies with the test.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.ReadCloser
	stderr bytes.Buffer // To be read after wait.
	err    error        // Of the start.
}

// start runs a program until it ends or ctx does.
func start(ctx context.Context, name string, args ...string) *process {
	p := &process{cmd: exec.CommandContext(ctx, name, args...)}
	userdtest.DieWithTest(p.cmd, syscall.SIGKILL)
	p.cmd.Stderr = &p.stderr
	stdin, inErr := p.cmd.StdinPipe()
	stdout, outErr := p.cmd.StdoutPipe()
	p.stdin, p.stdout = stdin, stdout
	p.err = errors.Join(inErr, outErr, p.cmd.Start())
	return p
}

// wait waits for the end of the program, after its output has been read.
func (p *process) wait() error {
	if p.err != nil {
		return p.err
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", p.cmd.Path, err, bytes.TrimSpace(p.stderr.Bytes()))
	}
	return nil
}
