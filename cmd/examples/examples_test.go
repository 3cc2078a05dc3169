// Package examples has programs to begin with, one for each language. Its tests run them.
package examples

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cmd/userd/userdtest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

func TestMain(m *testing.M) { userdtest.Main(m) }

func TestGo(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "example")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./go").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	start := func(server, cursor string) *exec.Cmd {
		return exec.CommandContext(t.Context(), program, "-server", server, "-cursor", cursor)
	}
	checkExample(t, start)
	checkProtected(t, start)
}

func TestNode(t *testing.T) {
	t.Parallel()
	start := installNode(t)
	checkExample(t, start)
	checkProtected(t, start)
}

func TestNodeGivesUpSilentStreams(t *testing.T) {
	t.Parallel()
	example := installNode(t)("", "")
	script := filepath.Join(filepath.Dir(example.Args[1]), "silence.mjs")
	text, err := os.ReadFile("testdata/silence.mjs")
	if err != nil {
		t.Fatal(err)
	}
	write(t, script, string(text))
	output(t, exec.CommandContext(t.Context(), example.Path, script, filepath.Join(t.TempDir(), "cursor")))
}

// The example opens another stream before one keeps too much.
func TestNodeOpensStreamsAnew(t *testing.T) {
	t.Parallel()
	opened := make(chan struct{}, 100)
	mux := http.NewServeMux()
	mux.HandleFunc("/user.v1.UserService/ListUsers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/connect+proto")
		_, _ = io.WriteString(w, "\x02\x00\x00\x00\x02{}") // The end.
	})
	mux.HandleFunc("/user.v1.UserService/WatchUsers", func(w http.ResponseWriter, r *http.Request) {
		opened <- struct{}{}
		w.Header().Set("Content-Type", "application/connect+proto")
		_, _ = io.WriteString(w, strings.Repeat("\x00\x00\x00\x00\x03\x12\x01c", 5_000)) // Messages with the cursor c.
		<-r.Context().Done()
	})
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)

	example := installNode(t)(server.URL, filepath.Join(t.TempDir(), "cursor"))
	example.Stderr = t.Output()
	userdtest.DieWithTest(example, syscall.SIGKILL)
	if err := example.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = example.Process.Kill()
		_ = example.Wait() // It was killed.
	})
	for range 2 {
		select {
		case <-opened:
		case <-time.After(time.Minute):
			t.Fatal("no stream is opened")
		}
	}
}

// installNode returns how the example for Node.js is started.
func installNode(t *testing.T) func(server, cursor string) *exec.Cmd {
	t.Helper()
	root := t.TempDir() // A copy, in which npm may install.
	for _, folder := range []string{"gen/ts", "cmd/examples/node"} {
		if err := os.CopyFS(filepath.Join(root, folder), os.DirFS(filepath.Join("../..", folder))); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(root, "cmd/examples/node")
	install := exec.CommandContext(t.Context(), userdtest.Program(t, "npm"), "install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = folder
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	node := userdtest.Program(t, "node")
	return func(server, cursor string) *exec.Cmd {
		return exec.CommandContext(t.Context(), node, filepath.Join(folder, "main.js"), server, cursor)
	}
}

// startProtected runs a server with TLS that lets in whoever has the token.
func startProtected(t *testing.T, scopes string) (server *userdtest.Userd, token, ca string) {
	t.Helper()
	pair, ca := userdtest.Certificate(t)
	callers := filepath.Join(t.TempDir(), "auth")
	token = newToken(t, callers, scopes)
	return userdtest.Start(t, "--auth-file", callers, "--tls-cert", pair, "--tls-key", pair), token, ca
}

// newToken makes a token, and adds it to a file of callers.
func newToken(t *testing.T, callers, scopes string) string {
	t.Helper()
	return strings.TrimSpace(output(t, exec.CommandContext(t.Context(), userdtest.Binary(t),
		"token", "new", "--name", "example", "--scopes", scopes, "--append", callers)))
}

// checkProtected looks whether an example is let in by a server that knows its callers.
func checkProtected(t *testing.T, command func(server, cursor string) *exec.Cmd) {
	t.Helper()
	server, token, ca := startProtected(t, "users.read,users.list")
	w := &world{
		t: t, server: server, cursor: filepath.Join(t.TempDir(), "cursor"), lines: make(chan string, 10), wantListed: 1,
		command: func(server, cursor string) *exec.Cmd {
			example := command(server, cursor)
			example.Env = append(os.Environ(), "USERD_TOKEN="+token, "SSL_CERT_FILE="+ca, "NODE_EXTRA_CA_CERTS="+ca)
			return example
		},
	}
	w.start()
	w.seen()
	resp, err := http.Get(w.url + "/greeting?user=00000000-0000-4000-8000-000000000000")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("nobody is greeted with %s", resp.Status)
	}
	w.kill()
}

// world is an example and its server, which go and come.
type world struct {
	t        *testing.T
	server   *userdtest.Userd
	flags    []string
	command  func(server, cursor string) *exec.Cmd
	cursor   string
	example  *exec.Cmd
	url      string            // Of the running example.
	lines    chan string       // Of all examples that have run.
	printed  map[string]string // By user: the newest change that was seen.
	expected map[string]string

	listed, wantListed int // How often all users have come.
}

// checkExample kills an example and the server while users change, and looks whether a change
// is lost.
func checkExample(t *testing.T, command func(server, cursor string) *exec.Cmd) {
	t.Helper()
	flags := []string{"--database", "sqlite:" + filepath.Join(t.TempDir(), "userd.db")}
	w := &world{
		t: t, flags: flags, command: command, server: userdtest.Start(t, flags...),
		cursor: filepath.Join(t.TempDir(), "cursor"), lines: make(chan string, 1000),
		printed: map[string]string{}, expected: map[string]string{}, wantListed: 1,
	}
	old, gone := w.create("before"), w.create("soon gone") // Found by the first list.
	w.start()
	w.seen()
	w.greets(old)
	w.change(old)
	w.seen()

	w.kill()
	w.change(old)  // While nobody watches.
	w.delete(gone) // No list would tell.
	fresh := w.create("while the example is away")
	w.start()
	w.seen()

	w.server.Kill(t)
	w.server = userdtest.Start(t, append(flags, "--listen", w.server.Host())...)
	w.change(fresh)
	w.seen()
	w.greets(old)

	w.server.Kill(t) // Both are away.
	w.kill()
	w.start()
	w.server = userdtest.Start(t, append(flags, "--listen", w.server.Host())...)
	w.delete(old)
	w.create("at last")
	w.seen()

	w.server.Kill(t) // Its database is lost, and the backup knows nobody yet.
	w.expected, w.wantListed = map[string]string{}, 2
	w.server = userdtest.Start(t, "--database", "sqlite:"+filepath.Join(t.TempDir(), "backup.db"), "--listen", w.server.Host())
	w.create("after the restore")
	w.seen()
	if w.listed != w.wantListed {
		t.Errorf("all users have come %d times, want %d", w.listed, w.wantListed)
	}

	_ = w.example.Process.Signal(syscall.SIGTERM)
	if err := w.example.Wait(); err != nil {
		t.Errorf("the example ends with %v", err)
	}
}

// start runs the example.
func (w *world) start() {
	w.t.Helper()
	w.example = w.command(w.server.URL, w.cursor)
	w.example.Stderr = w.t.Output()
	userdtest.DieWithTest(w.example, syscall.SIGKILL)
	stdout, err := w.example.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.example.Start(); err != nil {
		w.t.Fatal(err)
	}
	output := bufio.NewScanner(stdout)
	if !output.Scan() {
		w.t.Fatal("the example says nothing")
	}
	w.url = strings.TrimPrefix(output.Text(), "listening on ")
	go func() {
		for output.Scan() {
			w.lines <- output.Text()
		}
	}()
}

func (w *world) kill() {
	w.t.Helper()
	if err := w.example.Process.Kill(); err != nil {
		w.t.Fatal(err)
	}
	_ = w.example.Wait() // It was killed.
}

// seen waits until the examples have printed the newest change of every user.
func (w *world) seen() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for !w.complete() {
		select {
		case line := <-w.lines:
			if line == "listed" {
				w.listed++
				continue
			}
			var kind, id string
			var version int64
			if _, err := fmt.Sscan(line, &kind, &id, &version); err != nil {
				w.t.Fatalf("%q: %v", line, err)
			}
			w.printed[id] = fmt.Sprint(kind, " ", version)
		case <-ctx.Done():
			w.t.Fatalf("seen: %v, not %v; all users %d times, not %d", w.printed, w.expected, w.listed, w.wantListed)
		}
	}
}

func (w *world) complete() bool {
	for id, change := range w.expected {
		if w.printed[id] != change {
			return false
		}
	}
	return w.listed >= w.wantListed
}

// users is a client of the server that runs.
func (w *world) users() userv1connect.UserServiceClient {
	transport := &http.Transport{}
	w.t.Cleanup(transport.CloseIdleConnections)
	return userv1connect.NewUserServiceClient(connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, w.server.URL)))
}

func (w *world) create(name string) (id string) {
	w.t.Helper()
	email := strings.ReplaceAll(name, " ", ".") + "@example.com"
	response, err := w.users().CreateUser(w.t.Context(), &userv1.CreateUserRequest{Email: email, DisplayName: name})
	if err != nil {
		w.t.Fatal(err)
	}
	w.expected[response.GetUser().GetId()] = "changed 1"
	return response.GetUser().GetId()
}

// change changes a user and its name.
func (w *world) change(id string) {
	w.t.Helper()
	name := "after " + w.expected[id]
	response, err := w.users().UpdateUser(w.t.Context(), &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: id, DisplayName: &name}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.expected[id] = fmt.Sprint("changed ", response.GetUser().GetVersion())
}

func (w *world) delete(id string) {
	w.t.Helper()
	response, err := w.users().DeleteUser(w.t.Context(), &userv1.DeleteUserRequest{UserId: id})
	if err != nil {
		w.t.Fatal(err)
	}
	w.expected[id] = fmt.Sprint("deleted ", response.GetVersion())
}

// greets asks the example for a user.
func (w *world) greets(id string) {
	w.t.Helper()
	resp, err := http.Get(w.url + "/greeting?user=" + id)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(text, "Hello, ") {
		w.t.Errorf("the example greets with %s %q, %v", resp.Status, text, err)
	}
}
