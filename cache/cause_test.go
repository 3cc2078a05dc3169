package cache

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
)

// rights are those of the README but for one.
func rightsWithout(right string) []string {
	return append([]string{"--user", "userd", "on", ">secret-word"},
		strings.Fields(strings.Replace(cachetest.Rights, right, "", 1))...)
}

// asUser puts the user of rightsWithout into the URL of a server.
func asUser(r *cachetest.Redis) string {
	return strings.Replace(r.URL(), "://", "://userd:secret-word@", 1)
}

// Each way in which Redis can be set up wrong, or be away, is named by one line, in
// which the secret is not.
func TestCauses(t *testing.T) {
	t.Parallel()
	lacking := func(right string) func(t *testing.T) string {
		return func(t *testing.T) string { return asUser(cachetest.StartTCP(t, rightsWithout(right)...)) }
	}
	with := func(settings ...string) func(t *testing.T) string {
		return func(t *testing.T) string { return cachetest.StartTCP(t, settings...).URL() }
	}
	for name, test := range map[string]struct {
		url            func(t *testing.T) string
		cause, command string
		level          slog.Level
	}{
		"a wrong password": {func(t *testing.T) string {
			return strings.Replace(asUser(cachetest.StartTCP(t, rightsWithout("")...)), "secret-word", "wrong-secret-word", 1)
		}, "wrong_password", "", slog.LevelError},
		"no password":       {with("--requirepass", "secret-word"), "no_password", "", slog.LevelError},
		"no keys":           {lacking("~userd:*"), "no_rights", "EVALSHA", slog.LevelError},
		"no +@connection":   {lacking("+@connection"), "no_rights", "CLIENT TRACKING", slog.LevelError},
		"no +@scripting":    {lacking("+@scripting"), "no_rights", "EVALSHA", slog.LevelError},
		"no +@string":       {lacking("+@string"), "no_rights", "GET", slog.LevelError},
		"no +@keyspace":     {lacking("+@keyspace"), "no_rights", "PTTL", slog.LevelError},
		"no +@transaction":  {lacking("+@transaction"), "no_rights", "MULTI", slog.LevelError},
		"scripts disabled":  {with("--rename-command", "EVALSHA", ""), "no_command", "EVALSHA", slog.LevelError},
		"GET renamed":       {with("--rename-command", "GET", "FETCH"), "no_command", "GET", slog.LevelError},
		"HELLO renamed":     {with("--rename-command", "HELLO", "HI"), "too_old", "", slog.LevelError},
		"database 99":       {func(t *testing.T) string { return cachetest.StartTCP(t).URL() + "/99" }, "no_database", "PING", slog.LevelError},
		"TLS to plain":      {func(t *testing.T) string { return strings.Replace(with()(t), "redis:", "rediss:", 1) }, "plain_port", "", slog.LevelError},
		"plain to TLS":      {plainToTLS, "tls_port", "", slog.LevelError},
		"foreign authority": {func(t *testing.T) string { return cachetest.StartSecure(t, cachetest.NewSecurity(t)).URL() }, "certificate", "", slog.LevelError},
		"no such host":      {func(*testing.T) string { return "redis://nowhere.invalid" }, "unresolved", "", slog.LevelError},
		"a web server":      {webServer, "not_redis", "", slog.LevelError},
		"a closing port":    {closingPort, "hung_up", "", slog.LevelWarn},
		"nothing":           {func(t *testing.T) string { r := cachetest.StartTCP(t); r.Kill(); return r.URL() }, "not_listening", "", slog.LevelWarn},
		"no socket":         {func(*testing.T) string { return "unix:///nowhere/redis.sock" }, "not_listening", "", slog.LevelWarn},
		"frozen":            {frozen, "timeout", "", slog.LevelWarn},
		"too many clients":  {tooManyClients, "refused", "", slog.LevelWarn},
		"an unknown master set": {func(t *testing.T) string {
			return strings.Replace(cachetest.StartSentinel(t, nil).URL(), "users", "nobody", 1)
		}, "no_master_set", "", slog.LevelError},
		"a Cluster without slots": {with("--cluster-enabled", "yes"), "cluster_down", "", slog.LevelWarn},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bundle{store: newFakeStore(), url: test.url(t), lines: make(lines, 1000)}
			c, err := New(b.store, Config{Redis: b.url, Logger: slog.New(b.lines)})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			want := line{"cache is bypassed", test.cause, test.command, test.level}
			b.lines.awaitCause(t, want)
			look(t, c, b.user(t).ID, 1)
			c.awaitErrors(t, test.cause, 4)
			for len(b.lines) > 0 {
				if again := <-b.lines; again == want {
					t.Errorf("logged twice: %+v", again)
				}
			}
		})
	}
}

// awaitCause returns when the line was logged. On a machine that is busy others may
// come before it: what a heartbeat knew that had no time to find out more.
func (l lines) awaitCause(t testing.TB, want line) {
	t.Helper()
	for got := (line{}); got != want; {
		got = l.await(t, want.message)
		if got != want && !slices.Contains([]string{"timeout", "connection_lost", "hung_up", "tls"}, got.cause) {
			t.Fatalf("logged %+v, want %+v", got, want)
		}
	}
}

// awaitErrors returns when so many errors have had the cause.
func (c *Cache) awaitErrors(t testing.TB, cause string, n int64) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for c.Stats().Errors[cause] < n {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("errors are %v, want %d of %s", c.Stats().Errors, n, cause)
		}
	}
}

func plainToTLS(t *testing.T) string {
	r := cachetest.StartSecure(t, cachetest.NewSecurity(t))
	return "redis://127.0.0.1:" + r.Port()
}

func webServer(t *testing.T) string {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return "redis://" + server.Listener.Addr().String()
}

func closingPort(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connection.Close()
		}
	}()
	return "redis://" + listener.Addr().String()
}

func frozen(t *testing.T) string {
	r := cachetest.StartTCP(t)
	r.Freeze()
	return r.URL()
}

func tooManyClients(t *testing.T) string {
	r := cachetest.StartTCP(t)
	connection, err := net.Dial("tcp", "127.0.0.1:"+r.Port())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	r.Set("maxclients", "1")
	return r.URL()
}

// A node of a Cluster that is named alone sends the cache elsewhere.
func TestNodeOfACluster(t *testing.T) {
	t.Parallel()
	cluster := cachetest.StartCluster(t, nil)
	s := newFakeStore()
	mark := newKeyspace(s.identity.Incarnation, 1).mark(0)
	for _, node := range cluster.Nodes {
		if _, err := node.Try("GET", mark); code(err) != "MOVED" {
			continue
		}
		logged := make(lines, 1000)
		c, err := New(s, Config{Redis: node.URL(), Logger: slog.New(logged)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		logged.awaitCause(t, line{"cache is bypassed", "cluster", "", slog.LevelError})
		return
	}
	t.Error("no node says MOVED")
}

// A Redis that takes no writes is still read; the log says why nothing gets in.
func TestRedisWithoutWrites(t *testing.T) {
	t.Parallel()
	for cause, settings := range map[string][][2]string{
		"no_replicas": {{"min-replicas-to-write", "1"}},
		"no_memory":   {{"maxmemory-policy", "noeviction"}, {"maxmemory", "1kb"}},
		"no_disk":     {{"save", "3600 1"}, {"dir", "/proc"}},
	} {
		t.Run(cause, func(t *testing.T) {
			t.Parallel()
			b := onRedis(t, "--enable-protected-configs", "yes")
			c := b.open(t)
			u := b.user(t)
			warm(t, c, u.ID, 1)
			for _, setting := range settings {
				b.redis.Set(setting[0], setting[1])
			}
			if cause == "no_disk" {
				b.redis.Do("BGSAVE")
			}
			if got := b.lines.await(t, "redis is not as the cache needs it"); got.cause != cause {
				t.Errorf("warned of %q, want %q", got.cause, cause)
			}
			rename(t, c, u.ID, "two")
			look(t, c, u.ID, 2)
			if cause == "no_memory" { // What is old can still be removed.
				return
			}
			if got := b.lines.await(t, "cache is not trusted"); got.cause != cause {
				t.Errorf("not trusted for %q, want %q", got.cause, cause)
			}
			look(t, c, u.ID, 2)
		})
	}
}

func TestRedisIsSetUpBadly(t *testing.T) {
	t.Parallel()
	b := onRedis(t, "--maxmemory", "0", "--maxmemory-policy", "allkeys-lru")
	b.lines = make(lines, 1000)
	c, err := New(b.store, Config{Redis: b.url, Logger: slog.New(b.lines)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, cause := range []string{"no_maxmemory", "eviction_policy"} {
		if got := b.lines.await(t, "redis is not as the cache needs it"); got.cause != cause {
			t.Errorf("warned of %q, want %q", got.cause, cause)
		}
	}
	b.lines.await(t, "cache is trusted")
}

// A password that was changed is said, and the cache is used again when it is right.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	r := cachetest.Start(t, "--user", "userd", "on", ">secret-word", "~*", "+@all")
	b := &bundle{store: newFakeStore(), redis: r, url: asUser(r)}
	c := b.open(t)
	r.Do("ACL", "SETUSER", "userd", "resetpass", ">other-word")
	r.KillClients()
	b.lines.awaitCause(t, line{"cache is bypassed", "wrong_password", "", slog.LevelError})
	r.Do("ACL", "SETUSER", "userd", "resetpass", ">secret-word")
	b.lines.await(t, "cache is trusted")
	warm(t, c, b.user(t).ID, 1)
}

// A state that changes all the time does not fill the log, and the last line is true.
func TestLinesAreLimited(t *testing.T) {
	t.Parallel()
	now, logged := time.Now(), make(lines, 1000)
	c, err := build(newFakeStore(), Config{Logger: slog.New(logged), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		c.turn(bypassed, timedOut)
		c.turn(trusted, nil)
	}
	if n := len(logged); n != linesAtOnce {
		t.Errorf("%d lines at once, want %d", n, linesAtOnce)
	}
	for range linesAtOnce {
		<-logged
	}
	for range 10 { // Heartbeats.
		now = now.Add(beatEvery)
		c.turn(bypassed, timedOut)
	}
	if got := logged.await(t, "cache is bypassed"); got.cause != "timeout" || len(logged) != 0 {
		t.Errorf("logged %+v and %d more, want timeout alone", got, len(logged))
	}
}
