package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// redisEnv names the path of redis-server, as for the tests.
const redisEnv = "USERD_TEST_REDIS"

// Redis is a private Redis server with nothing on disk.
type Redis struct {
	address string
}

// Redis starts a Redis server.
func (l *Lab) Redis(ctx context.Context) (*Redis, error) {
	program, err := l.redisProgram()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address) // It is one.
	running, err := l.start(exec.CommandContext(ctx, program, "--port", port, "--bind", "127.0.0.1", "--dir", l.dir,
		"--save", "", "--appendonly", "no", "--maxmemory", "512mb", "--maxmemory-policy", "volatile-lru"), l.Cores.Stores)
	if err != nil {
		return nil, err
	}
	r := &Redis{address: address}
	deadline := time.Now().Add(startWait)
	for {
		_, err := r.Commands()
		switch {
		case err == nil:
			return r, nil
		case time.Now().After(deadline):
			return nil, fmt.Errorf("redis does not start: %w: %s", err, running.output)
		}
		time.Sleep(5 * time.Millisecond) // A server that starts sends no event.
	}
}

func (l *Lab) redisProgram() (string, error) {
	if program := os.Getenv(redisEnv); program != "" {
		return program, nil
	}
	if fetched := filepath.Join(l.root, ".tools", "redis8", "redis-server"); isFile(fetched) {
		return fetched, nil
	}
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return "", fmt.Errorf("no redis-server on PATH: install package redis-server, or name its path in %s", redisEnv)
	}
	return program, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// URL is how userd names the server.
func (r *Redis) URL() string { return "redis://" + r.address }

// Commands is the number of commands that the server has run.
func (r *Redis) Commands() (float64, error) {
	value, err := r.fact("stats", "total_commands_processed")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(value, 64)
}

// Version is the server's version.
func (r *Redis) Version() (string, error) { return r.fact("server", "redis_version") }

func (r *Redis) fact(section, name string) (string, error) {
	info, err := r.info(section)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("redis does not tell its %s", name)
}

func (r *Redis) info(section string) (string, error) {
	conn, err := net.DialTimeout("tcp", r.address, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "INFO %s\r\n", section); err != nil {
		return "", err
	}
	reader := bufio.NewReader(conn)
	var length int
	if _, err := fmt.Fscanf(reader, "$%d\r\n", &length); err != nil {
		return "", fmt.Errorf("answer of redis: %w", err)
	}
	text := make([]byte, length)
	_, err = io.ReadFull(reader, text)
	return string(text), err
}
