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
	root, err := output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}"))
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
	return &Lab{Cores: splitCores(), dir: dir, root: root}, nil
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

// Build builds the command in a folder of the project. A folder with a go.mod of
// its own is built by that.
func (l *Lab) Build(ctx context.Context, folder string) (program string, err error) {
	program = filepath.Join(l.dir, "bin", filepath.Base(folder))
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = filepath.Join(l.root, folder)
	if _, err := output(build); err != nil {
		return "", fmt.Errorf("build %s: %w", folder, err)
	}
	return program, nil
}

// output runs a command to its end. An error has what the command said.
func output(command *exec.Cmd) (string, error) {
	out, err := command.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}
