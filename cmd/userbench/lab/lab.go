package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Lab is a folder with programs and the processes that run from it.
type Lab struct {
	Cores Cores
	dir   string
	root  string // Of the project.
	stop  []func()
}

// New makes a lab for the project around the working directory.
func New(ctx context.Context) (*Lab, error) {
	l := &Lab{Cores: splitCores()}
	root, err := l.Run(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}"))
	if err != nil {
		return nil, fmt.Errorf("find the project: %w", err)
	}
	dir, err := os.MkdirTemp("", "userbench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL runs as another user.
		return nil, err
	}
	l.dir, l.root = dir, root
	return l, nil
}

// Close ends all processes, the last one first, and removes the folder.
func (l *Lab) Close() error {
	for i := len(l.stop) - 1; i >= 0; i-- {
		l.stop[i]()
	}
	return os.RemoveAll(l.dir)
}

// Root is the folder of the project.
func (l *Lab) Root() string { return l.root }

// Path is a path in the lab's folder.
func (l *Lab) Path(name string) string { return filepath.Join(l.dir, name) }

// Build builds the command in a folder of a tree of the project.
func (l *Lab) Build(ctx context.Context, root, folder string, flags ...string) (program string, err error) {
	dir, err := os.MkdirTemp(l.dir, "bin-")
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, filepath.Base(folder))
	build := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags...), "-o", program, "./"+folder)...)
	build.Dir = root
	if _, err := l.Run(build); err != nil {
		return "", fmt.Errorf("build %s: %w", folder, err)
	}
	return program, nil
}

// Run runs a command to its end, on all processors. An error has what the command
// said.
func (l *Lab) Run(command *exec.Cmd) (text string, err error) {
	err = onCores(l.Cores.All, func() error {
		out, err := command.Output()
		text = strings.TrimSpace(string(out))
		return err
	})
	if exit := new(exec.ExitError); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return text, err
}
