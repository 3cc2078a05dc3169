package clienttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

// The description of a running server is valid, and what others make of it is a client.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	program := module(t, "openapi.mjs")
	folder := newPackage(t)
	out, err := exec.CommandContext(t.Context(), userdtest.Program(t, "node"), program, folder, userdtest.Start(t).URL).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// newPackage is a folder for what is made for Node.js, with the modules of testdata.
func newPackage(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	modules, err := filepath.Abs("testdata/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "package.json"), []byte(`{"type": "module"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}
