package clienttest

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

// TestPackage packs and installs the TypeScript client, and uses it in Node.js and, bundled,
// in a browser.
func TestPackage(t *testing.T) {
	t.Parallel()
	folder := installPackage(t)
	const want = "Ada Lovelace is version 1"
	t.Run("Node.js", func(t *testing.T) {
		t.Parallel()
		url := userdtest.Start(t).URL
		if got := output(t, folder, userdtest.Program(t, "node"), "package-node.mjs", url); got != want+"\n" {
			t.Errorf("Node.js says %q", got)
		}
	})
	t.Run("browser", func(t *testing.T) {
		t.Parallel()
		pages := httptest.NewServer(http.FileServer(http.Dir(folder)))
		t.Cleanup(pages.Close)
		url := userdtest.Start(t, "--cors-origin", pages.URL).URL
		chromium := userdtest.Program(t, "chromium", "chromium-browser", "google-chrome")
		browser := start(t.Context(), userdtest.Program(t, "node"), module(t, "browser.mjs"), chromium, pages.URL+"/page.html?url="+url)
		line, err := bufio.NewReader(browser.stdout).ReadString('\n')
		browser.stdin.Close()
		if waitErr := browser.wait(); err != nil || waitErr != nil || line != want+"\n" {
			t.Errorf("the browser says %q, %v, %v", line, err, waitErr)
		}
	})
}

// installPackage returns a folder with the package installed, programs that use it, and a
// page with one of them bundled.
func installPackage(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"package.mjs", "package-node.mjs", "package-page.mjs"} {
		copyFile(t, filepath.Join("testdata", name), filepath.Join(folder, name))
	}
	source, err := filepath.Abs("../../../gen/ts")
	if err != nil {
		t.Fatal(err)
	}
	npm := userdtest.Program(t, "npm")
	packed := strings.TrimSpace(output(t, folder, npm, "pack", "--silent", source))
	// What is to be installed has been, by testdata: it comes from npm's cache, where that has it.
	output(t, folder, npm, "install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts",
		"./"+packed, "@connectrpc/connect@2.3.0", "@connectrpc/connect-node@2.3.0", "@connectrpc/connect-web@2.3.0")
	bundler := module(t, "node_modules/.bin/esbuild")
	if bundler, err = filepath.Abs(bundler); err != nil {
		t.Fatal(err)
	}
	output(t, folder, bundler, "package-page.mjs", "--bundle", "--outfile=page.js")
	page := []byte(`<!doctype html><title>The package</title><link rel="icon" href="data:,"><script src="/page.js"></script>`)
	if err := os.WriteFile(filepath.Join(folder, "page.html"), page, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// output is what a program that succeeds in a folder writes.
func output(t *testing.T, folder, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = folder
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}
