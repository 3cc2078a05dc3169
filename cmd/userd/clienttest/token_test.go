package clienttest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/example/userd/cmd/userd/userdtest"
)

// With a token clients get what they get of a server that knows no callers, and without
// one, or with another, why they get nothing.
func TestTokens(t *testing.T) {
	for name, newClient := range map[string]func(t *testing.T, url string, token ...string) client{
		"curl over HTTP/1.1": func(t *testing.T, url string, token ...string) client { return newCurlWith(t, url, "1.1", token...) },
		"curl over h2c":      func(t *testing.T, url string, token ...string) client { return newCurlWith(t, url, "2", token...) },
		"grpcio":             newGrpcPythonWith,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "auth")
			out, err := exec.Command(userdtest.Binary(t), "token", "new",
				"--name", "tests", "--scopes", "users.read,users.list,users.write,users.delete", "--append", file).Output()
			if err != nil {
				t.Fatal(err)
			}
			token := strings.TrimSpace(string(out))
			url := userdtest.Start(t, "--auth-file", file).URL
			checkRefused(t, newClient(t, url))
			checkRefused(t, newClient(t, url, token[:len(token)-1]))
			check(t, newClient(t, url, token), newCurlWith(t, url, "2", token))
		})
	}
}

// checkRefused checks that a client gets to see why it is not let in.
func checkRefused(t *testing.T, c client) {
	t.Helper()
	s := newScenario(t, c)
	for _, method := range []protoreflect.Name{"GetUser", "CreateUser", "ListUsers"} {
		r := c.open(s.ctx, method)
		r.send([]byte("{}"))
		r.close()
		if got := s.ended(r).String(); got != "unauthenticated user.v1/UNAUTHENTICATED" {
			t.Errorf("%s: %s", method, got)
		}
	}
}

// newCurlWith is newCurl with a token, if there is one.
func newCurlWith(t *testing.T, url, httpVersion string, token ...string) client {
	var args []string
	for _, token := range token {
		args = append(args, "--header", "Authorization: Bearer "+token)
	}
	return newCurl(t, url, httpVersion, args...)
}
