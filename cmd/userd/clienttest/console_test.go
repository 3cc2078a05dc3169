package clienttest

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
	"github.com/example/userd/server/auth/authtest"
)

var pictures = flag.String("pictures", "", "folder for pictures of the console's pages, to look at")

// TestConsole has a browser do all that the console is for.
func TestConsole(t *testing.T) {
	t.Run("in the clear, anybody", func(t *testing.T) {
		t.Parallel()
		useConsole(t, map[string]any{"width": 1280, "scheme": "light"})
	})
	t.Run("over TLS, with tokens", func(t *testing.T) {
		t.Parallel()
		pair, _ := userdtest.Certificate(t)
		auth := filepath.Join(t.TempDir(), "auth")
		settings := map[string]any{
			"width": 320, "scheme": "dark",
			"token":  newToken(t, auth, "operator", "users.read,users.list,users.write,users.delete,admin"),
			"reader": newToken(t, auth, "reader", "users.read"),
		}
		useConsole(t, settings, "--tls-cert", pair, "--tls-key", pair, "--auth-file", auth)
	})
}

// TestConsoleMistakes has a person do at the console what is wrong, or too fast for it.
func TestConsoleMistakes(t *testing.T) {
	t.Parallel()
	auth := filepath.Join(t.TempDir(), "auth")
	token := newToken(t, auth, "operator", "users.read,users.list,users.write,users.delete,admin")
	issuer, keys := authtest.NewIssuer(t), filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte(issuer.Set()), 0o600); err != nil {
		t.Fatal(err)
	}
	var jwts []string
	for _, subject := range []string{"ada", "ada", "grace"} {
		jwts = append(jwts, issuer.Sign(t, map[string]any{"sub": subject, "scope": "users.read users.list users.write"}))
	}
	settings := map[string]any{"journey": "mistakes", "width": 1280, "scheme": "light", "token": token, "jwts": jwts}
	useConsole(t, settings, "--auth-file", auth, "--jwt-keys", keys, "--jwt-issuer", authtest.Name, "--jwt-audience", authtest.Audience)
}

func TestConsoleCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]int{"--console": http.StatusOK, "--console=false": http.StatusNotFound} {
		resp, err := http.Get(userdtest.Start(t, flag).URL + "/console/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: /console/ answers %d, not %d", flag, resp.StatusCode, want)
		}
	}
}

// useConsole runs console.mjs with a new server, which is restarted when that asks for it.
func useConsole(t *testing.T, settings map[string]any, flags ...string) {
	t.Helper()
	flags = append(flags, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	server := userdtest.Start(t, flags...)
	settings["url"], settings["pictures"] = server.URL, *pictures
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	chromium := userdtest.Program(t, "chromium", "chromium-browser", "google-chrome")
	person := start(t.Context(), userdtest.Program(t, "node"), module(t, "console.mjs"), chromium, string(text))
	for lines := bufio.NewScanner(person.stdout); lines.Scan(); { // Each asks for a restart.
		server.Stop(t)
		server = userdtest.Start(t, append(flags, "--listen", server.Host())...)
		fmt.Fprintln(person.stdin)
	}
	if err := person.wait(); err != nil {
		t.Error(err)
	}
}

// newToken makes a token and adds it to the file of callers.
func newToken(t *testing.T, file, name, scopes string) string {
	t.Helper()
	out, err := exec.Command(userdtest.Binary(t), "token", "new", "--name", name, "--scopes", scopes, "--append", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
