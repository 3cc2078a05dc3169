package main

import (
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

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userd/userdtest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/auth/authtest"
	"github.com/example/userd/store/storetest/transcript"
)

// readFile is what a file holds.
func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A file with the audit log may be moved away: after SIGHUP there is a new one.
func TestAuditFileIsOpenedAnew(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	p, log := startReading(t, "--audit-log", path)
	client := grpcClient(t, p.url)
	first := createUser(t, client, "first@example.com")
	awaitMetric(t, p.adminHost, "userd_audit_lines_total 1")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitForLine(t, log, "the audit log is opened anew") // From here on it may be compressed.
	second := createUser(t, client, "second@example.com")
	if err := p.stop(t); err != nil {
		t.Error(err)
	}
	for file, id := range map[string]string{path + ".1": first, path: second} {
		text := readFile(t, file)
		if strings.Count(text, "\n") != 1 || !strings.Contains(text, `"procedure":"user.v1.UserService/CreateUser"`) || !strings.Contains(text, `"user_id":"`+id+`","version":1}`) {
			t.Errorf("%s has %s", file, text)
		}
	}
}

// It does not wait for an issuer that does not answer.
func TestAuditFileIsOpenedAnewBeforeKeysAreFetched(t *testing.T) {
	t.Parallel()
	issuer := authtest.NewIssuer(t)
	asked, givenUp := make(chan struct{}), make(chan struct{})
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if issuer.Fetches() == 1 {
			close(asked)
			<-r.Context().Done()
			close(givenUp)
		}
		issuer.ServeHTTP(w, r)
	}))
	defer keys.Close()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	p, _ := startReading(t, "--audit-log", path, "--jwt-keys", keys.URL, "--jwt-issuer", authtest.Name, "--jwt-audience", authtest.Audience)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-asked
	for _, err := os.Stat(path); err != nil; _, err = os.Stat(path) {
		select {
		case <-givenUp:
			t.Fatal("the file is not there when the keys were given up")
		default:
		}
	}
}

// A full disk keeps no call waiting. It is counted, and makes the server unready if the log
// is required.
func TestAuditLogOnAFullDisk(t *testing.T) {
	t.Parallel()
	for _, required := range []bool{false, true} {
		t.Run(fmt.Sprint(required), func(t *testing.T) {
			t.Parallel()
			p, log := startReading(t, "--audit-log", "/dev/full", fmt.Sprint("--audit-required=", required))
			createUser(t, grpcClient(t, p.url), "ada@example.com")
			if line := waitForLine(t, log, "the audit log cannot be written"); !strings.Contains(line, "no space left on device") {
				t.Errorf("the log says %s", line)
			}
			metrics := userdtest.Get(t, "http://"+p.adminHost+"/metrics")
			if !strings.Contains(metrics, "\nuserd_audit_lines_waiting 1\n") || strings.Contains(metrics, "\nuserd_audit_write_failures_total 0\n") {
				t.Error("the failure is not counted")
			}
			resp, err := http.Get("http://" + p.adminHost + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			if ready := resp.StatusCode == http.StatusOK; ready == required || required && string(text) != "the audit log cannot be written\n" {
				t.Errorf("/readyz: %s: %s", resp.Status, text)
			}
			createUser(t, grpcClient(t, p.url), "grace@example.com")
			if err := p.stop(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// Lines that the log was to have and that cannot be written are not lost, and make the server
// unready if they are required.
func TestAuditInALogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	p := startLogging(t, full, "--audit-log", "log", "--audit-required", "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
	createUser(t, grpcClient(t, p.url), "ada@example.com")
	awaitMetric(t, p.adminHost, `userd_audit_write_failures_total [1-9]`)
	metrics := userdtest.Get(t, "http://"+p.adminHost+"/metrics")
	for _, want := range []string{"\nuserd_audit_lines_waiting 1\n", "\nuserd_audit_lines_total 0\n", "\nuserd_audit_lines_lost_total 0\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %q", want)
		}
	}
	resp, err := http.Get("http://" + p.adminHost + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %s", resp.Status)
	}
	if err := p.stop(t); err != nil {
		t.Error(err)
	}
}

// Where callers are known their writes are in the log, whatever its level.
func TestAuditGoesToTheLog(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		flags []string
		want  int
	}{
		{[]string{"--log-level", "error"}, 1},
		{[]string{"--log-format", "text", "--audit-log", "log"}, 1},
		{[]string{"--audit-log", "none"}, 0},
	} {
		t.Run(strings.Join(test.flags, " "), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "auth")
			token := newTokenFor(t, file, "billing", "users.write")
			var log transcript.Log
			p := startLogging(t, &log, append(test.flags, "--auth-file", file, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))...)
			cmd := exec.Command("bash", "-c", p.curl)
			cmd.Env = append(os.Environ(), "USERD_TOKEN="+token)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err := p.stop(t); err != nil {
				t.Error(err)
			}
			lines := 0
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, "audit") && strings.Contains(line, "billing") && strings.Contains(line, "user.v1.UserService/CreateUser") {
					lines++
				}
			}
			if lines != test.want {
				t.Errorf("%d lines, want %d:\n%s", lines, test.want, log.String())
			}
		})
	}
}

// withToken sends a token with all requests.
type withToken struct {
	token string
	next  http.RoundTripper
}

func (w withToken) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+w.token)
	return w.next.RoundTrip(req)
}

// What a server with all that it has says shows neither credentials nor who the users are:
// its log, its audit log, its metrics, its traces and its profiles.
func TestNothingShowsUsersAndCredentials(t *testing.T) {
	t.Parallel()
	for name, stores := range map[string]func(t *testing.T) []string{
		"SQLite": func(t *testing.T) []string {
			return []string{"--database", "sqlite:" + filepath.Join(t.TempDir(), "userd.db")}
		},
		"PostgreSQL and Redis": func(t *testing.T) []string {
			return []string{"--database", newPostgres(t), "--redis", cachetest.Start(t).URL()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testNothingIsShown(t, stores(t))
		})
	}
}

func testNothingIsShown(t *testing.T, stores []string) {
	traces := new(transcript.Log)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(traces, r.Body)
	}))
	defer collector.Close()
	issuer := authtest.NewIssuer(t)
	keys := httptest.NewServer(issuer)
	defer keys.Close()
	dir := t.TempDir()
	file, auditLog := filepath.Join(dir, "auth"), filepath.Join(dir, "audit")
	const scopes = "users.read,users.list,users.write,users.delete,admin"
	token, jwt := newTokenFor(t, file, "ops", scopes), issuer.Sign(t, map[string]any{"sub": "issued", "scope": strings.ReplaceAll(scopes, ",", " ")})
	wrong, lacking := "userd_"+strings.Repeat("z", 39), issuer.Sign(t, map[string]any{"sub": "lacking"})
	expired := issuer.Sign(t, map[string]any{"exp": 1})
	var log transcript.Log
	cmd := exec.Command(userdPath(t), serveArgs(append(stores, "--log-level", "debug", "--pprof", "--auth-file", file, "--audit-log", auditLog,
		"--jwt-keys", keys.URL, "--jwt-issuer", authtest.Name, "--jwt-audience", authtest.Audience))...)
	cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
	p := start(t, &log, cmd)
	for i, credential := range []string{token, jwt, wrong, lacking, expired} {
		playEverything(t, p.url, credential, fmt.Sprint("Hushname", i), fmt.Sprint("hush", i, "@private.example"))
	}
	said := map[string]string{"the banner": p.banner}
	for _, path := range []string{"metrics", "debug/pprof/", "debug/pprof/goroutine?debug=2", "debug/pprof/heap?debug=1", "debug/pprof/symbol"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.adminHost+"/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := withToken{token, http.DefaultTransport}.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", path, resp.Status, err)
		}
		said[path] = string(text)
	}
	if err := p.stop(t); err != nil {
		t.Error(err)
	}
	said["the log"], said["the audit log"], said["traces"] = log.String(), readFile(t, auditLog), traces.String()
	for where, text := range said {
		if text == "" {
			t.Errorf("%s is empty", where)
		}
		for _, secret := range append(hashesIn(t, file), token, jwt, wrong, lacking, expired, "Hushname", "private.example", "hushid", "hushvalue") {
			if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
				t.Errorf("%s shows %s", where, secret)
			}
		}
	}
	for where, want := range map[string]string{
		"the audit log": `"principal":"issued","credential":"jwt"`, "the log": `"principal":"ops"`, "metrics": `userd_auth_refused_total{kind="expired"}`, "traces": "user.v1.UserService/CreateUser",
	} {
		if !strings.Contains(said[where], want) {
			t.Errorf("%s has nothing with %s", where, want)
		}
	}
}

// hashesIn are the hashes in a file of callers.
func hashesIn(t *testing.T, file string) (hashes []string) {
	t.Helper()
	for line := range strings.Lines(readFile(t, file)) {
		hashes = append(hashes, strings.TrimPrefix(strings.Fields(line)[1], "sha256:"))
	}
	return hashes
}

// playEverything makes calls, good ones and such that fail, of a user with a name and an
// address.
func playEverything(t *testing.T, url, token, name, email string) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	for _, options := range [][]connecthttp.Option{{connecthttp.WithGRPC()}, {connecthttp.WithGRPCWeb()}, {connecthttp.WithHTTPGet(), connecthttp.WithProtoJSON()}} {
		client := userv1connect.NewUserServiceClient(connect.NewClient(
			connecthttp.NewTransport(&http.Client{Transport: withToken{token, transport}}, url, options...)))
		ctx := t.Context()
		user := &userv1.CreateUserRequest{Email: email, DisplayName: name, ExternalId: "hushid" + name, Attributes: map[string]string{"tenant": "hushvalue"}}
		// What comes of the calls is not looked at: it is what the server says besides.
		created, _ := client.CreateUser(ctx, user)
		_, _ = client.CreateUser(ctx, user)
		id := created.GetUser().GetId()
		_, _ = client.GetUser(ctx, &userv1.GetUserRequest{UserId: id})
		_, _ = client.GetUser(ctx, &userv1.GetUserRequest{UserId: email})
		_, _ = client.GetUserByEmail(ctx, &userv1.GetUserByEmailRequest{Email: email})
		_, _ = client.GetUserByExternalId(ctx, &userv1.GetUserByExternalIdRequest{ExternalId: "hushid" + name})
		_, _ = client.BatchGetUsers(ctx, &userv1.BatchGetUsersRequest{UserIds: []string{id, email}})
		if listed, err := client.ListUsers(ctx, &userv1.ListUsersRequest{PageToken: "hushid"}); err == nil {
			_, _ = listed.Receive()
			_ = listed.Close()
		}
		if watched, err := client.WatchUsers(ctx, &userv1.WatchUsersRequest{Cursor: "earliest"}); err == nil {
			_, _ = watched.Receive()
			_ = watched.Close()
		}
		_, _ = client.SearchUsers(ctx, &userv1.SearchUsersRequest{EmailPrefix: email, NameContains: name})
		_, _ = client.SearchUsers(ctx, &userv1.SearchUsersRequest{PageToken: email})
		_, _ = client.RecordLogin(ctx, &userv1.RecordLoginRequest{UserId: id})
		_, _ = client.UpdateUser(ctx, &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: id, DisplayName: &name, AddRoles: []string{name}}})
		_, _ = client.UpdateUser(ctx, &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: id, AddRoles: []string{"author"}}})
		if imported, err := client.BatchCreateUsers(ctx); err == nil {
			_ = imported.Send(user)
			_ = imported.Send(&userv1.CreateUserRequest{Email: "x" + email, DisplayName: name})
			_, _ = imported.CloseAndReceive()
		}
		if updates, err := client.StreamUserUpdates(ctx); err == nil {
			_ = updates.Send(&userv1.UserUpdate{UserId: id, DisplayName: new("x" + name), SetAttributes: map[string]string{"locale": "hushvalue"}})
			_, _ = updates.Receive()
			_ = updates.Close()
		}
		_, _ = client.DeleteUser(ctx, &userv1.DeleteUserRequest{UserId: id})
	}
}
