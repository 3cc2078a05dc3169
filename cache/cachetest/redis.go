package cachetest

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"
)

// Redis is a private Redis server of a test. Its methods end the test when they fail;
// they may be called from one goroutine at a time.
type Redis struct {
	*Instance
	t testing.TB
}

// Start runs a server on a unix socket, without a configuration file and without
// saving on its own, and stops it at the end of the test. The settings are as on
// its command line, "--maxmemory", "10mb".
func Start(t testing.TB, settings ...string) *Redis {
	t.Helper()
	r := newRedis(t)
	r.network, r.address = "unix", filepath.Join(r.dir, "redis.sock")
	r.args = r.arguments(append([]string{"--port", "0", "--unixsocket", r.address}, settings...))
	r.Up()
	return r
}

// StartTCP is Start on a free port of 127.0.0.1 instead of a socket.
func StartTCP(t testing.TB, settings ...string) *Redis {
	t.Helper()
	return StartSecure(t, nil, settings...)
}

// StartSecure is StartTCP of a server that asks for passwords and TLS, where there
// is a security.
func StartSecure(t testing.TB, secure *Security, settings ...string) *Redis {
	t.Helper()
	r := newRedis(t)
	r.network, r.address, r.secure = "tcp", FreeAddress(t), secure
	r.args = []string{"--port", r.Port(), "--bind", "127.0.0.1"}
	if secure != nil {
		r.args = append(r.args, secure.settings(t, r.Port())...)
	}
	r.args = r.arguments(append(r.args, settings...))
	r.Up()
	return r
}

func newRedis(t testing.TB) *Redis {
	t.Helper()
	instance, err := newInstance()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		instance.Close()
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(instance.program), instance.output.String())
		}
	})
	return &Redis{Instance: instance, t: t}
}

// Up starts the server where it does not run, and returns when it answers.
func (r *Redis) Up() {
	r.t.Helper()
	if err := r.up(); err != nil {
		r.t.Fatal(err)
	}
}

// RestartEmpty kills the server and starts it without data.
func (r *Redis) RestartEmpty() {
	r.t.Helper()
	r.Kill()
	if err := os.Remove(filepath.Join(r.dir, "dump.rdb")); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal(err)
	}
	r.Up()
}

// Save writes the data to the RDB file that the next Up reads.
func (r *Redis) Save() {
	r.t.Helper()
	r.Do("SAVE")
}

func (r *Redis) signal(signal os.Signal) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return
	}
	if err := r.process.Process.Signal(signal); err != nil {
		r.t.Fatal(err)
	}
}

// Flush runs FLUSHALL.
func (r *Redis) Flush() {
	r.t.Helper()
	r.Do("FLUSHALL")
}

// KillClients closes the connections of all clients.
func (r *Redis) KillClients() {
	r.t.Helper()
	r.Do("CLIENT", "KILL", "TYPE", "normal")
}

// Set changes a setting of the running server.
func (r *Redis) Set(name, value string) {
	r.t.Helper()
	r.Do("CONFIG", "SET", name, value)
}

// Do runs a command on a connection of its own and returns the answer.
func (r *Redis) Do(command ...string) rueidis.RedisMessage {
	r.t.Helper()
	answer, err := r.Try(command...)
	if err != nil && !rueidis.IsRedisNil(err) {
		r.t.Fatalf("%v: %v", command, err)
	}
	return answer
}

// Major is the major version of the server.
func (r *Redis) Major() int {
	r.t.Helper()
	version, err := r.Version()
	if err != nil {
		r.t.Fatal(err)
	}
	text, _, _ := strings.Cut(version, ".")
	major, _ := strconv.Atoi(text)
	return major
}
