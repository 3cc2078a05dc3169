package cachetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// startTimeout bounds the start of a server and every command of a test.
const startTimeout = 10 * time.Second

// Instance is a private Redis server that no test owns. Its methods may be called from
// one goroutine at a time.
type Instance struct {
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

// StartInstance is [StartTCP] for programs that are no tests. The caller closes the
// server; it ends with this process all the same.
func StartInstance(settings ...string) (*Instance, error) {
	i, err := newInstance()
	if err != nil {
		return nil, err
	}
	if i.address, err = NewAddress(); err == nil {
		i.network = "tcp"
		i.args = i.arguments(append([]string{"--port", i.Port(), "--bind", "127.0.0.1"}, settings...))
		err = i.up()
	}
	if err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// newInstance makes the folder of a server.
func newInstance() (*Instance, error) {
	program, err := findProgram()
	if err != nil {
		return nil, err
	}
	// Not a test's own folder: its path is too long for a unix socket.
	dir, err := os.MkdirTemp("", "redis")
	return &Instance{program: program, dir: dir}, err
}

// findProgram returns the path of redis-server, which is also a Sentinel's program.
func findProgram() (string, error) {
	server := os.Getenv("USERD_TEST_REDIS")
	if server == "" {
		server = fetched()
	}
	if server == "" {
		server, _ = exec.LookPath("redis-server")
	}
	if _, err := os.Stat(server); server == "" || err != nil {
		return "", errors.New("no redis-server: run .ci/redis8, install Debian's redis-server, or name its path in USERD_TEST_REDIS")
	}
	return server, nil
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

// arguments are the command line of a server that saves nothing on its own.
func (i *Instance) arguments(settings []string) []string {
	return append([]string{
		"--dir", i.dir, "--save", "", "--appendonly", "no", "--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru",
	}, settings...)
}

// URL is how a client names the server.
func (i *Instance) URL() string {
	switch {
	case i.network == "unix":
		return "unix://" + i.address
	case i.secure != nil:
		return secureURL(i.address, userName, i.secure.Password)
	default:
		return "redis://" + i.address
	}
}

// Port is the TCP port of the server, "" when it has a unix socket.
func (i *Instance) Port() string {
	_, port, _ := net.SplitHostPort(i.address)
	return port
}

// up starts the server where it does not run, and returns when it answers.
func (i *Instance) up() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.process != nil {
		return nil
	}
	process := exec.Command(i.program, i.args...)
	process.SysProcAttr = DieWithParent()
	process.Stdout, process.Stderr = &i.output, &i.output
	if err := process.Start(); err != nil {
		return fmt.Errorf("start %s: %w", i.program, err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = process.Wait()
	}()
	i.process, i.exited = process, exited
	return i.awaitAnswer()
}

// awaitAnswer returns when the server takes commands. A starting process sends
// no event, so it is asked.
func (i *Instance) awaitAnswer() error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-i.exited:
			return fmt.Errorf("%s ended: %s", i.program, i.output.String())
		case <-deadline.C:
			return fmt.Errorf("%s does not answer: %s", i.program, i.output.String())
		case <-again.C:
		}
		if answer := i.ping(); answer == "+PONG" || answer == "-NOAU" {
			return nil
		}
	}
}

// ping returns the start of the answer to a PING, "" for none.
func (i *Instance) ping() string {
	connection, err := net.DialTimeout(i.network, i.address, time.Second)
	if err != nil {
		return ""
	}
	defer connection.Close()
	if i.secure != nil {
		config := i.secure.config()
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
func (i *Instance) Kill() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.process == nil {
		return
	}
	_ = i.process.Process.Kill()
	<-i.exited
	i.process = nil
}

// Close ends the server and removes what it has written.
func (i *Instance) Close() {
	i.Kill()
	os.RemoveAll(i.dir)
}

// Try runs a command on a connection of its own and returns the answer.
func (i *Instance) Try(command ...string) (rueidis.RedisMessage, error) {
	option, err := rueidis.ParseURL(i.URL())
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	if i.secure != nil {
		option.Username, option.Password, option.TLSConfig = rootName, i.secure.root, i.secure.config()
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

// Version is the version of the server.
func (i *Instance) Version() (string, error) {
	hello, err := i.Try("HELLO", "3")
	if err != nil {
		return "", err
	}
	fields, err := hello.AsMap()
	if err != nil {
		return "", err
	}
	version := fields["version"]
	return version.ToString()
}
