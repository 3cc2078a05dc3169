package cachetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// startTimeout bounds the start of a server and every command of a test.
const startTimeout = 10 * time.Second

// Redis is a private Redis server. Its methods end the test when they fail; they
// may be called from one goroutine at a time.
type Redis struct {
	t       testing.TB
	program string
	args    []string
	dir     string
	network string // "unix" or "tcp".
	address string // Path of the socket, or host:port.
	secure  *Security

	mu      sync.Mutex
	process *exec.Cmd
	exited  chan struct{}
	output  bytes.Buffer
}

// Binary returns the path of redis-server, which is also a Sentinel's program, and ends
// the test when there is none.
func Binary(t testing.TB) string {
	t.Helper()
	server := os.Getenv("USERD_TEST_REDIS")
	if server == "" {
		server = fetched()
	}
	if server == "" {
		server, _ = exec.LookPath("redis-server")
	}
	if _, err := os.Stat(server); server == "" || err != nil {
		t.Fatal("no redis-server: run .ci/redis8, install Debian's redis-server, or name its path in USERD_TEST_REDIS")
	}
	return server
}

// fetched is the path of the server that .ci/redis8 fetched, or "".
func fetched() string {
	dir, err := os.Getwd()
	for err == nil {
		server := filepath.Join(dir, ".tools", "redis8", "redis-server")
		if _, err := os.Stat(server); err == nil {
			return server
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

// Start runs a server on a unix socket, without a configuration file and without
// saving on its own, and stops it at the end of the test. The settings are as on
// its command line, "--maxmemory", "10mb".
func Start(t testing.TB, settings ...string) *Redis {
	t.Helper()
	r := newRedis(t, Binary(t))
	r.network, r.address = "unix", filepath.Join(r.dir, "redis.sock")
	r.args = append([]string{
		"--port", "0", "--unixsocket", r.address, "--dir", r.dir, "--save", "", "--appendonly", "no",
		"--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru",
	}, settings...)
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
	r := newRedis(t, Binary(t))
	r.network, r.address, r.secure = "tcp", freeAddress(t), secure
	r.args = []string{
		"--port", r.Port(), "--bind", "127.0.0.1", "--dir", r.dir, "--save", "", "--appendonly", "no",
		"--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru",
	}
	if secure != nil {
		r.args = append(r.args, secure.settings(t, r.Port())...)
	}
	r.args = append(r.args, settings...)
	r.Up()
	return r
}

func newRedis(t testing.TB, program string) *Redis {
	t.Helper()
	// Not t.TempDir: its path is too long for a unix socket.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	r := &Redis{t: t, program: program, dir: dir}
	t.Cleanup(func() {
		r.Kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(program), r.output.String())
		}
		os.RemoveAll(dir)
	})
	return r
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// URL is how a client names the server.
func (r *Redis) URL() string {
	switch {
	case r.network == "unix":
		return "unix://" + r.address
	case r.secure != nil:
		return secureURL(r.address, userName, r.secure.Password)
	default:
		return "redis://" + r.address
	}
}

// Port is the TCP port of the server, "" when it has a unix socket.
func (r *Redis) Port() string {
	_, port, _ := net.SplitHostPort(r.address)
	return port
}

// Up starts the server where it does not run, and returns when it answers.
func (r *Redis) Up() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		return
	}
	process := exec.Command(r.program, r.args...)
	process.SysProcAttr = dieWithParent()
	process.Stdout, process.Stderr = &r.output, &r.output
	if err := process.Start(); err != nil {
		r.t.Fatalf("start %s: %v", r.program, err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = process.Wait()
	}()
	r.process, r.exited = process, exited
	r.awaitAnswer()
}

// awaitAnswer returns when the server takes commands. A starting process sends
// no event, so it is asked.
func (r *Redis) awaitAnswer() {
	r.t.Helper()
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-r.exited:
			r.t.Fatalf("%s ended: %s", r.program, r.output.String())
		case <-deadline.C:
			r.t.Fatalf("%s does not answer: %s", r.program, r.output.String())
		case <-again.C:
		}
		if answer := r.ping(); answer == "+PONG" || answer == "-NOAU" {
			return
		}
	}
}

// ping returns the start of the answer to a PING, "" for none.
func (r *Redis) ping() string {
	connection, err := net.DialTimeout(r.network, r.address, time.Second)
	if err != nil {
		return ""
	}
	defer connection.Close()
	if r.secure != nil {
		config := r.secure.config(r.t)
		config.InsecureSkipVerify = true
		connection = tls.Client(connection, config)
	}
	_ = connection.SetDeadline(time.Now().Add(time.Second))
	_, _ = connection.Write([]byte("PING\r\n"))
	answer := make([]byte, 5)
	n, _ := io.ReadFull(connection, answer)
	return string(answer[:n])
}

// Kill ends the server as kill -9 does and returns when it is gone.
func (r *Redis) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return
	}
	_ = r.process.Process.Kill()
	<-r.exited
	r.process = nil
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

// Freeze stops the server with SIGSTOP: its connections stay and nothing answers.
func (r *Redis) Freeze() { r.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server run again.
func (r *Redis) Thaw() { r.signal(syscall.SIGCONT) }

func (r *Redis) signal(signal syscall.Signal) {
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

// Try is Do for commands that may fail.
func (r *Redis) Try(command ...string) (rueidis.RedisMessage, error) {
	option, err := rueidis.ParseURL(r.URL())
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	if r.secure != nil {
		option.Username, option.Password, option.TLSConfig = rootName, r.secure.root, r.secure.config(r.t)
	}
	option.DisableCache, option.ForceSingleClient, option.DisableRetry = true, true, true
	option.PipelineMultiplex = -1
	client, err := rueidis.NewClient(option)
	if client != nil {
		defer client.Close()
	}
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return client.Do(ctx, client.B().Arbitrary(command...).Build()).ToMessage()
}

// Major is the major version of the server.
func (r *Redis) Major() int {
	r.t.Helper()
	hello := r.Do("HELLO", "3")
	fields, err := hello.AsMap()
	if err != nil {
		r.t.Fatal(err)
	}
	version := fields["version"]
	text, _ := version.ToString()
	major, _ := strconv.Atoi(text[:1])
	return major
}
