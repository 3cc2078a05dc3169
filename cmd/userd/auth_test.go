package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/server/auth/authtest"
	"github.com/example/userd/store/storetest/transcript"
)

// newTokenFor makes a token whose line is in a file.
func newTokenFor(t *testing.T, file, name, scopes string) string {
	t.Helper()
	out, err := exec.Command(userdPath(t), "token", "new", "--name", name, "--scopes", scopes, "--append", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// without removes the lines of a name from a file.
func without(t *testing.T, file, name string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, name+" ") {
			kept.WriteString(line)
		}
	}
	if err := os.WriteFile(file, []byte(kept.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// client calls a server with a token, on one connection over HTTP/1.1 or HTTP/2.
type client struct {
	http  *http.Client
	url   string
	token string
}

func newClient(t *testing.T, url, token string, http2 bool) *client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{&http.Client{Transport: transport}, url, token}
}

// get calls GetUser, and returns the status of HTTP.
func (c *client) get(t *testing.T) int {
	t.Helper()
	return c.ask(t, c.url+"/user.v1.UserService/GetUser?encoding=json&message=%7B%22userId%22%3A%227d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d%22%7D")
}

func (c *client) ask(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// A token that is removed from the file stops working within a second, on connections
// that are open too, and others go on. A broken file changes nothing but the log.
func TestTokensFollowTheirFile(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"engine", "std"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "auth")
			stays, goes := newTokenFor(t, file, "stays", "users.read,admin"), newTokenFor(t, file, "goes", "users.read")
			p, log := startReading(t, "--http2", transport, "--auth-file", file)
			clients := map[*client]bool{} // Whether it is to go on.
			for _, http2 := range []bool{false, true} {
				clients[newClient(t, p.url, stays, http2)], clients[newClient(t, p.url, goes, http2)] = true, false
			}
			for client := range clients {
				if status := client.get(t); status != http.StatusOK {
					t.Fatalf("status %d", status)
				}
			}
			without(t, file, "goes")
			removed := time.Now()
			for client, stays := range clients {
				for !stays && client.get(t) == http.StatusOK { // It asks until it is refused.
				}
			}
			if took := time.Since(removed); took > time.Second {
				t.Errorf("a removed token worked for %s", took)
			}
			for client, stays := range clients {
				want := http.StatusUnauthorized
				if stays {
					want = http.StatusOK
				}
				if status := client.get(t); status != want {
					t.Errorf("status %d, want %d", status, want)
				}
			}
			if err := appendLine(file, "# broken:\nbilling "+goes+" users.read"); err != nil {
				t.Fatal(err)
			}
			if line := waitForLine(t, log, "file of principals is broken"); !strings.Contains(line, "line 3: the credential") || strings.Contains(line, goes) {
				t.Errorf("the log says %s", line)
			}
			if line := hangUp(t, p, log); !strings.Contains(line, "TLS") { // A line later: it was read again.
				t.Errorf("the log says %s", line)
			}
			for client, stays := range clients {
				if status := client.get(t); stays && status != http.StatusOK {
					t.Errorf("status %d with a broken file", status)
				}
			}
		})
	}
}

// JWT are good as long as their key is: in a file that is read again within a second, and at
// a URL that is asked when there is a new one, or on SIGHUP.
func TestJWTFollowTheirKeys(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	served := httptest.NewServer(issuer)
	t.Cleanup(served.Close)
	file := filepath.Join(t.TempDir(), "keys")
	write := func() {
		if err := os.WriteFile(file, []byte(issuer.Set()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	flags := []string{"--jwt-issuer", authtest.Name, "--jwt-audience", authtest.Audience}
	fromFile, _ := startReading(t, append(flags, "--jwt-keys", file)...)
	fromURL, log := startReading(t, append(flags, "--jwt-keys", served.URL)...)
	token := issuer.Sign(t, map[string]any{"scope": "users.read"})
	var clients []*client
	for _, p := range []*process{fromFile, fromURL} {
		for _, http2 := range []bool{false, true} {
			clients = append(clients, newClient(t, p.url, token, http2))
		}
	}
	check := func(clients []*client, want int) {
		t.Helper()
		for range 2 {
			for _, client := range clients {
				if status := client.get(t); status != want {
					t.Errorf("status %d, want %d", status, want)
				}
			}
		}
	}
	check(clients, http.StatusOK)
	issuer.Remove("first")
	issuer.Add(authtest.NewKey(t, "second", "EdDSA"))
	write()
	changed := time.Now()
	for clients[0].get(t) == http.StatusOK { // It asks until it is refused.
	}
	if took := time.Since(changed); took > time.Second {
		t.Errorf("the token of a removed key worked for %s", took)
	}
	hangUp(t, fromURL, log)
	check(clients, http.StatusUnauthorized)
	for _, client := range clients {
		client.token = issuer.Key("second").Sign(t, map[string]any{"scope": "users.read"})
	}
	check(clients, http.StatusOK)
}

// What the server says of itself works with a file of callers, for those who are in it.
func TestOperationWithCallers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "auth")
	token := newTokenFor(t, file, "ops", "users.write,admin")
	var log transcript.Log
	p := startLogging(t, &log, "--auth-file", file, "--log-level", "debug", "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	cmd := exec.Command("bash", "-c", p.curl)
	cmd.Env = append(os.Environ(), "USERD_TOKEN="+token)
	if out, err := cmd.Output(); err != nil || !bytes.Contains(out, []byte(`"email":"ada@example.com"`)) {
		t.Errorf("%s: %v: %s", p.curl, err, out)
	}
	if out, err := exec.Command(userdPath(t), "healthcheck", "--admin-listen", p.adminHost).CombinedOutput(); err != nil {
		t.Errorf("healthcheck: %v: %s", err, out)
	}
	for token, want := range map[string]int{"": http.StatusUnauthorized, token: http.StatusOK} {
		if status := newClient(t, p.url, token, false).ask(t, "http://"+p.adminHost+"/metrics"); status != want {
			t.Errorf("/metrics: status %d, want %d", status, want)
		}
	}
	if err := p.stop(t); err != nil {
		t.Error(err)
	}
	if text := log.String(); text == "" || strings.Contains(text, token) {
		t.Errorf("the log is empty or shows the token:\n%s", text)
	}
}

// A file of callers lets a server listen for other machines.
func TestCallersLetOthersBeServed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "auth")
	newTokenFor(t, file, "ops", "admin")
	p, log := startReading(t, "--auth-file", file, "--listen", "0.0.0.0:0", "--admin-listen", "0.0.0.0:0")
	waitForLine(t, log, "tokens come in the clear")
	waitForLine(t, log, "the admin listener has no TLS")
	if status := newClient(t, p.url, "", false).get(t); status != http.StatusUnauthorized {
		t.Errorf("status %d without a token", status)
	}
}

func TestAppendedLinesAreLines(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(file, []byte("# operators"), 0o640); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := appendLine(file, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "# operators\n0\n1\n" {
		t.Errorf("%q, error %v", text, err)
	}
}

// certified is a client with a certificate, that keeps sessions of TLS.
func certified(t *testing.T, pair keyPair, sessions tls.ClientSessionCache, http2 bool) *http.Client {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(pair.cert, pair.key)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}, ClientSessionCache: sessions, // Tests make their own certificates.
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Certificates of clients are those of the authorities, as they are now, for new
// connections, also for those that resume a session of TLS.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{true, false} {
		t.Run(fmt.Sprintf("http2 %v", http2), func(t *testing.T) {
			t.Parallel()
			own, known, stranger := newKeyPair(t), newKeyPair(t), newKeyPair(t)
			for _, pair := range []keyPair{own, known, stranger} {
				pair.write(t, 1, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
			}
			authorities, file := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "auth")
			copyFile(t, known.cert, authorities)
			if err := appendLine(file, "mesh cert:users.example.com users.read"); err != nil {
				t.Fatal(err)
			}
			p, log := startReading(t, append(own.flags(), "--tls-client-ca", authorities, "--auth-file", file)...)
			sessions := tls.NewLRUClientSessionCache(1)
			first := &client{certified(t, known, sessions, http2), p.url, ""}
			if status := first.get(t); status != http.StatusOK {
				t.Fatalf("status %d with a certificate", status)
			}
			resumed := &client{certified(t, known, sessions, http2), p.url, ""}
			if status := resumed.get(t); status != http.StatusOK {
				t.Fatalf("status %d when a session is resumed", status)
			}
			unknown := &client{certified(t, stranger, nil, http2), p.url, ""}
			if _, err := unknown.http.Get(p.url + "/livez"); err == nil {
				t.Error("a certificate of another authority is taken")
			}
			copyFile(t, stranger.cert, authorities)
			hangUp(t, p, log)
			if status := unknown.get(t); status != http.StatusOK {
				t.Errorf("status %d with a certificate of the new authority", status)
			}
			if status := first.get(t); status != http.StatusOK {
				t.Errorf("status %d: the connection from before has ended", status)
			}
			for name, sessions := range map[string]tls.ClientSessionCache{"new": nil, "resumed": sessions} {
				late := certified(t, known, sessions, http2)
				if resp, err := late.Get(p.url + "/user.v1.UserService/GetUser?encoding=json&message=%7B%7D"); err == nil && resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("a %s connection with a certificate of the old authority: %s", name, resp.Status)
				}
			}
			without(t, file, "mesh")
			for unknown.get(t) == http.StatusOK { // It asks until it is refused.
			}
			if status := first.get(t); status != http.StatusUnauthorized {
				t.Errorf("status %d for a name that is removed", status)
			}
			if err := os.WriteFile(authorities, []byte("none"), 0o600); err != nil {
				t.Fatal(err)
			}
			if line := hangUp(t, p, log); !strings.Contains(line, "--tls-client-ca: ") || !strings.Contains(line, "has no certificate") {
				t.Errorf("the log says %s", line)
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(text) {
		t.Fatalf("%s has no certificate", from)
	}
}
