package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is refused before it is read, curl sees the answer: over h2c a stream that is
// reset before its request has ended is a framing error for it.
func TestCurlSeesRefusals(t *testing.T) {
	t.Parallel()
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, []byte(`{"userId":"`+strings.Repeat("x", 200<<10)+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "auth")
	token := newTokenFor(t, file, "one", "users.read,users.list")
	for _, transport := range []string{"engine", "std"} {
		open, _ := startReading(t, "--http2", transport)
		guarded, _ := startReading(t, "--http2", transport, "--auth-file", file)
		for name, test := range map[string]struct {
			on     *process
			path   string
			status string
			flags  []string
		}{
			"host":                {open, "user.v1.UserService/GetUser", "421", []string{"-H", "Host: evil.example"}},
			"no credentials":      {guarded, "user.v1.UserService/GetUser", "401", nil},
			"no scope":            {guarded, "user.v1.UserService/DeleteUser", "403", []string{"-H", "Authorization: Bearer " + token}},
			"unknown path":        {open, "nothing", "404", nil},
			"unknown method":      {open, "user.v1.UserService/Nothing", "501", nil},
			"unknown compression": {open, "user.v1.UserService/GetUser", "501", []string{"-H", "Content-Encoding: br"}},
			"broken timeout":      {open, "user.v1.UserService/GetUser", "400", []string{"-H", "Connect-Timeout-Ms: soon"}},
			"unknown version":     {open, "user.v1.UserService/GetUser", "400", []string{"-H", "Connect-Protocol-Version: 2"}},
			"unknown type":        {open, "user.v1.UserService/GetUser", "415", []string{"-H", "Content-Type: text/plain"}},
			"unknown codec":       {open, "user.v1.UserService/GetUser", "415", []string{"-H", "Content-Type: application/xml"}},
			"type of streams":     {open, "user.v1.UserService/GetUser", "415", []string{"-H", "Content-Type: application/connect+json"}},
			"type of no streams":  {open, "user.v1.UserService/ListUsers", "415", nil},
			"method":              {open, "user.v1.UserService/GetUser", "405", []string{"-X", "PUT"}},
		} {
			t.Run(transport+" "+name, func(t *testing.T) {
				t.Parallel()
				args := append([]string{"-H", "Content-Type: application/json"}, test.flags...)
				if strings.Contains(strings.Join(test.flags, " "), "Content-Type: ") { // What curl is told twice it sends twice.
					args = test.flags
				}
				args = append(args, test.on.url+"/"+test.path)
				for range 20 { // curl 7.88 cannot send a second body on a connection over h2c, whatever the server.
					checkCurl(t, test.status, append(args, "-d", "{}")...)
					checkCurl(t, test.status, append(args, "--data-binary", "@"+large)...)
					checkCurl(t, test.status, append(args, "-T", large, "-H", "Content-Length:")...)
				}
			})
		}
	}
}

// checkCurl checks that a call over h2c is answered with a status.
func checkCurl(t *testing.T, status string, args ...string) {
	t.Helper()
	args = append([]string{"--http2-prior-knowledge", "-sS", "-o", os.DevNull, "-w", "%{http_code}", "-X", "POST", "-H", "Expect:"}, args...)
	cmd := exec.CommandContext(t.Context(), "curl", args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil || string(out) != status {
		t.Errorf("%v: %.100s%.100s", err, said.String(), out)
	}
}
