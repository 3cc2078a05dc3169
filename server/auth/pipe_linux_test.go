package auth

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe is refused, and nobody waits for what may come out of it: at the start, and when it has
// taken the place of the file.
func TestPipesAreRefused(t *testing.T) {
	t.Parallel()
	const why = "is no regular file"
	path := filepath.Join(t.TempDir(), "auth")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{File: path}); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("it starts with %v", err)
	}
	a, f := open(t, "ada "+sum("token")+" users.read")
	if err := os.Rename(path, f.path); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("it is read again with %v", err)
	}
	a.look()
	if known := a.callers.Load().principals.byToken; len(known) != 1 {
		t.Errorf("%d tokens are known", len(known))
	}
}
