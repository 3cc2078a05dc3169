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

// Build builds the command in a folder of the project, optimized as userd is.
func (l *Lab) Build(ctx context.Context, folder string) (program string, err error) {
	return l.build(ctx, folder, "-pgo="+filepath.Join(l.root, "cmd", "userd", "default.pgo"))
}

// BuildModule builds the command in a folder that is a module of its own. Its go.mod
// names the project, so its requirements follow from the project's: they are brought
// up to date in a copy, or each change of the project's would have to be made twice.
func (l *Lab) BuildModule(ctx context.Context, folder string) (program string, err error) {
	mod := l.Path(filepath.Base(folder) + ".mod")
	if err := concatenate(mod, filepath.Join(l.root, folder, "go.mod")); err != nil {
		return "", err
	}
	sum := strings.TrimSuffix(mod, ".mod") + ".sum"
	if err := concatenate(sum, filepath.Join(l.root, folder, "go.sum"), filepath.Join(l.root, "go.sum")); err != nil {
		return "", err
	}
	return l.build(ctx, folder, "-mod=mod", "-modfile="+mod)
}

func (l *Lab) build(ctx context.Context, folder string, flags ...string) (program string, err error) {
	program = filepath.Join(l.dir, "bin", filepath.Base(folder))
	build := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags...), "-o", program, ".")...)
	build.Dir = filepath.Join(l.root, folder)
	if _, err := l.Run(build); err != nil {
		return "", fmt.Errorf("build %s: %w", folder, err)
	}
	return program, nil
}

func concatenate(to string, files ...string) error {
	var all []byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all = append(all, data...)
	}
	return os.WriteFile(to, all, 0o644)
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
