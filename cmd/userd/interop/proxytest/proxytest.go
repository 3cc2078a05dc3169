// Package proxytest starts the reverse proxies that the README has settings for:
// nginx, HAProxy and Caddy, unprivileged and until the test ends. A test that needs
// other settings than the README's brings its own.
package proxytest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userd/userdtest"
	"github.com/example/userd/store/storetest/transcript"
)

// Proxy is a reverse proxy that is running. It speaks TLS.
type Proxy struct {
	Address string // host:port
	URL     string // https://host:port
	CA      string // PEM file of the certificate that clients have to trust.
}

// Addresses and files of the README's settings.
const (
	exampleName = "users.example.com"
	exampleA    = "10.0.0.1:8080"
	exampleB    = "10.0.0.2:8080"
	exampleCert = "/etc/ssl/users.pem"
)

// kind is what is known of one proxy.
type kind struct {
	listen  string                            // The address of the README's settings.
	config  func(dir, settings string) string // A whole configuration around settings.
	command func(config string) []string
	stop    syscall.Signal // Ends it at once.
}

var kinds = map[string]kind{
	"nginx": {
		listen:  "listen 443",
		config:  nginxConfig,
		command: func(config string) []string { return []string{"-e", "stderr", "-c", config} },
		stop:    syscall.SIGTERM,
	},
	"haproxy": {
		listen:  "bind :443",
		config:  func(_, settings string) string { return settings },
		command: func(config string) []string { return []string{"-db", "-f", config} },
		stop:    syscall.SIGTERM,
	},
	"caddy": {
		listen:  exampleName + " {",
		config:  caddyConfig,
		command: func(config string) []string { return []string{"run", "--adapter", "caddyfile", "--config", config} },
		stop:    syscall.SIGKILL, // It asks for patience otherwise.
	},
}

// nginxConfig leaves nothing in the folders of the system.
func nginxConfig(dir, settings string) string {
	var config strings.Builder
	if os.Geteuid() == 0 {
		config.WriteString("user root;\n") // So that workers can enter dir.
	}
	fmt.Fprintf(&config, "daemon off;\nworker_processes 1;\npid %s/pid;\nerror_log stderr warn;\n", dir)
	config.WriteString("events { worker_connections 4096; }\nhttp {\naccess_log off;\n")
	for _, path := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&config, "%s_temp_path %s/%s;\n", path, dir, path)
	}
	config.WriteString(settings + "}\n")
	return config.String()
}

// caddyConfig keeps it from the administrator's port and from port 80.
func caddyConfig(_, settings string) string {
	return "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n" + settings
}

// Start starts a proxy, "nginx", "haproxy" or "caddy", with the README's settings,
// in front of servers at a and b, host:port. They may be one.
func Start(t testing.TB, name, a, b string) *Proxy {
	t.Helper()
	settings := strings.NewReplacer(exampleA, a, exampleB, b).Replace(Settings(t, name))
	return StartWith(t, name, settings)
}

// Settings returns what the README says of a proxy: the block of this name.
func Settings(t testing.TB, name string) string {
	t.Helper()
	text := readREADME(t)
	_, after, found := strings.Cut(text, "\n```"+name+"\n")
	settings, _, closed := strings.Cut(after, "\n```\n")
	if !found || !closed {
		t.Fatalf("README.md has no settings for %s", name)
	}
	return settings + "\n"
}

// readREADME looks for it from the folder of the test upwards.
func readREADME(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err == nil {
			return string(text)
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("there is no README.md in this folder or above it")
		}
		dir = filepath.Dir(dir)
	}
}

// StartWith starts a proxy with settings of the README's kind: the same address to
// listen on and the same file of the certificate, which it replaces by real ones.
func StartWith(t testing.TB, name, settings string) *Proxy {
	t.Helper()
	k, known := kinds[name]
	if !known {
		t.Fatalf("no such proxy: %s", name)
	}
	dir := t.TempDir()
	certificate, ca := userdtest.Certificate(t)
	address := cachetest.FreeAddress(t)
	if !strings.Contains(settings, k.listen) {
		t.Fatalf("the settings for %s do not say %q", name, k.listen)
	}
	listen := strings.NewReplacer(":443", address, "443", address, exampleName, "https://"+address).Replace(k.listen)
	settings = strings.NewReplacer(k.listen, listen, exampleCert, certificate).Replace(settings)
	path := filepath.Join(dir, "config")
	if err := os.WriteFile(path, []byte(k.config(dir, settings)), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, name, k, dir, address, k.command(path))
	return &Proxy{Address: address, URL: "https://" + address, CA: ca}
}

// run runs a proxy until the test ends, and returns when it listens.
func run(t testing.TB, name string, k kind, dir, address string, arguments []string) {
	t.Helper()
	cmd := exec.Command(userdtest.Program(t, name), arguments...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	userdtest.DieWithTest(cmd, syscall.SIGTERM)
	var output transcript.Log
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(k.stop)
		<-ended
		if t.Failed() {
			t.Logf("%s: %s", name, output.String())
		}
	})
	waitUntilListening(t, name, address, ended, &output)
}

func waitUntilListening(t testing.TB, name, address string, ended <-chan struct{}, output *transcript.Log) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ticker.C:
		case <-ended:
			t.Fatalf("%s has not started: %s", name, output.String())
		case <-t.Context().Done():
			t.Fatalf("%s does not listen: %s", name, output.String())
		}
	}
}
