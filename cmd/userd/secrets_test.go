package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userd/userdtest"
	"github.com/example/userd/store/storetest"
	"github.com/example/userd/store/storetest/transcript"
)

// secret is a password that must not be seen anywhere.
const secret = "hush4711"

// secretDatabases are settings of a database with the password, good and broken ones.
// Nobody listens where they point.
var secretDatabases = []string{
	"postgres://ada:" + secret + "@127.0.0.1:1/users",
	"postgres://127.0.0.1:1/users?user=ada&password=" + secret,
	"postgres://127.0.0.1:1/users?sslmode=disable&sslpassword=" + secret,
	"postgres://ada:" + secret + "@127.0.0.1:1,127.0.0.1:2/users",
	"postgres://ada:" + secret + "%@127.0.0.1:1/users",
	"postgres://ada:" + secret + "@127.0.0.1:port/users",
	"postgres://ada:" + secret + "@[127.0.0.1/users",
	"postgres://ada:" + secret + " @127.0.0.1:1/users",
	"postgres://ada:" + secret + "#@127.0.0.1:1/users",
	"postgres://ada:" + secret + "@127.0.0.1:1/users?pool_max_conns=" + secret,
	"postgres://ada:" + secret + "@127.0.0.1:1/users?sslmode=" + secret,
	"Postgres://ada:" + secret + "@127.0.0.1:1/users",
	"postgres:ada:" + secret + "@127.0.0.1:1/users",
	"host=127.0.0.1 port=1 user=ada password=" + secret + " dbname=users",
	"host=127.0.0.1 password='" + secret,
	"password = '" + secret + " " + secret + "' host = 127.0.0.1 port = 1",
	"host=127.0.0.1 port=1 password=" + secret + " sslmode=" + secret,
	"password=" + secret + " " + secret,
	"mysql://ada:" + secret + "@127.0.0.1/users",
	secret,
}

// secretRedises are settings of Redis with the password.
var secretRedises = []string{
	"redis://:" + secret + "@127.0.0.1:1",
	"redis://ada:" + secret + "@127.0.0.1:1/0",
	"redis://127.0.0.1:1?master_set=m&sentinel_username=s&sentinel_password=" + secret,
	"redis://ada:" + secret + "%@127.0.0.1:1",
	"redis://ada:" + secret + "@[127.0.0.1",
	"redis://ada:" + secret + "@127.0.0.1:port",
	"http://ada:" + secret + "@127.0.0.1:1",
	secret,
}

// runSecretly runs a command that fails and checks that it does not show the secret.
func runSecretly(t *testing.T, environment []string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), userdPath(t), args...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Dir = t.TempDir()
	shown, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("%s ends well:\n%s", strings.Join(args, " "), shown)
	}
	if bytes.Contains(shown, []byte(secret)) {
		t.Errorf("%s %s shows the password:\n%s", strings.Join(environment, " "), strings.Join(args, " "), shown)
	}
	if lines := strings.TrimSpace(string(shown)); lines == "" {
		t.Errorf("%s says nothing", strings.Join(args, " "))
	}
}

// No command shows a password, in whatever form it is given.
func TestNoCommandShowsAPassword(t *testing.T) {
	t.Parallel()
	serve := []string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", ""}
	for i, setting := range secretDatabases {
		t.Run(fmt.Sprint("database ", i), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "setting")
			if err := os.WriteFile(file, []byte(setting+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			runSecretly(t, nil, append(serve, "--database", setting)...)
			runSecretly(t, nil, append(serve, "--database-file", file)...)
			runSecretly(t, []string{"USERD_DATABASE=" + setting}, serve...)
			runSecretly(t, nil, "migrate", "status", "--database", setting)
			runSecretly(t, nil, "migrate", "up", "--database="+setting)
			runSecretly(t, nil, "copy", "--from", setting, "--to", "sqlite:there.db")
			runSecretly(t, nil, "cache", "check", "--database", setting, "--redis", "redis://127.0.0.1:1")
			runSecretly(t, nil, "migrate", "status", "-database", setting)
			runSecretly(t, nil, append([]string{"migrate", "status", "--database"}, strings.Fields(setting+" more")...)...)
		})
	}
	database := "sqlite:" + filepath.Join(t.TempDir(), "userd.db")
	if out, err := exec.CommandContext(t.Context(), userdPath(t), "migrate", "up", "--database", database).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, setting := range secretRedises {
		t.Run(fmt.Sprint("redis ", i), func(t *testing.T) {
			t.Parallel()
			runSecretly(t, nil, "cache", "check", "--database", database, "--redis", setting)
		})
	}
}

// A setting that was mistaken for another one may be a database's.
func TestWrongSettingsAreNotRepeated(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--listen", "--admin-listen", "--http2", "--send-timeout", "--max-connections", "--insecure", "--log-level", "--cors-origin", "--log-format", "--banner"} {
		runSecretly(t, nil, "serve", flag+"="+secretDatabases[0])
		runSecretly(t, []string{"USERD_" + strings.ToUpper(strings.ReplaceAll(flag[2:], "-", "_")) + "=" + secretDatabases[0]}, "serve")
	}
}

// Nor does a server: in its log, its banner, its metrics or its profiles.
func TestNoServerShowsAPassword(t *testing.T) {
	t.Parallel()
	for i, setting := range secretRedises[:3] {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			p := startLogging(t, &log, "--pprof", "--redis", setting, "--database", "sqlite:"+filepath.Join(t.TempDir(), "userd.db"))
			for _, path := range []string{"metrics", "readyz", "debug/pprof/", "debug/pprof/cmdline", "debug/pprof/goroutine?debug=2", "debug/pprof/heap?debug=1"} {
				if strings.Contains(userdtest.Get(t, "http://"+p.adminHost+"/"+path), secret) {
					t.Errorf("%s shows the password", path)
				}
			}
			if err := p.stop(t); err != nil {
				t.Error(err)
			}
			if bytes.Contains(log.Bytes(), []byte(secret)) {
				t.Errorf("the log shows the password:\n%s", log.String())
			}
		})
	}
}

// TestSecretsInFilesAreUsed runs a server whose PostgreSQL and Redis let nobody in
// without the passwords that its files hold, and looks for them in all that it says.
func TestSecretsInFilesAreUsed(t *testing.T) {
	t.Parallel()
	postgres := storetest.NewServer(t, "fsync=off")
	redis := cachetest.StartTCP(t, "--requirepass", secret)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	database := write("database", postgres.Login(t, "postgres", "userd", secret))
	migrated, err := exec.CommandContext(t.Context(), userdPath(t), "migrate", "up", "--database-file", database).CombinedOutput()
	if err != nil {
		t.Fatalf("migrate: %v: %s", err, migrated)
	}
	var log transcript.Log
	p := startLogging(t, &log, "--pprof", "--log-level", "debug", "--database-file", database,
		"--redis-file", write("redis", "redis://:"+secret+"@127.0.0.1:"+redis.Port()))
	createUser(t, grpcClient(t, p.url), "ada@example.com")
	awaitMetric(t, p.adminHost, `userd_cache_trusted 1`)
	said := map[string]string{"migrate": string(migrated), "the banner": p.banner}
	for _, path := range []string{"metrics", "readyz", "debug/pprof/cmdline", "debug/pprof/goroutine?debug=2"} {
		said[path] = userdtest.Get(t, "http://"+p.adminHost+"/"+path)
	}
	for _, file := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
		if err != nil {
			t.Fatal(err)
		}
		said[file] = string(text)
	}
	if err := p.stop(t); err != nil {
		t.Error(err)
	}
	said["the log"] = log.String()
	for where, text := range said {
		if text == "" || strings.Contains(text, secret) {
			t.Errorf("%s is empty or shows the password:\n%s", where, text)
		}
	}
}

// Two values for one setting are a mistake, and a file holds one line.
func TestSettingsFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, two := write("good", "sqlite:"+filepath.Join(dir, "users.db")+"\n"), write("two", secret+"\n"+secret+"\n")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"migrate", "up", "--database-file", good}, "version"},
		{[]string{"migrate", "up", "--database-file", two}, "does not hold one line"},
		{[]string{"migrate", "up", "--database-file", write("none", "\n")}, "does not hold one line"},
		{[]string{"migrate", "up", "--database-file", filepath.Join(dir, "missing")}, "no such file"},
		{[]string{"migrate", "up", "--database-file", good, "--database", "sqlite:other.db"}, "leave one out"},
	} {
		cmd := exec.CommandContext(t.Context(), userdPath(t), test.args...)
		cmd.Dir = dir
		shown, _ := cmd.CombinedOutput() // The words are looked at.
		if !bytes.Contains(shown, []byte(test.want)) || bytes.Contains(shown, []byte(secret)) {
			t.Errorf("%v: %s", test.args, shown)
		}
	}
}
