package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store/storetest/pgbin"
)

// PostgresEnv is the environment variable with the URL of a PostgreSQL server to
// test on. Its user must be allowed to create databases.
const PostgresEnv = "USERD_TEST_POSTGRES"

// Postgres returns the URL of a new database with the schema that migrate makes.
// The database is dropped when the test ends. It is on the server that PostgresEnv
// names, or on a private one that all tests of the process share and that ends with
// the process. That one does not survive a crash of the machine; tests of
// durability start their own with NewServer.
func Postgres(t testing.TB, migrate func(ctx context.Context, url string) error) string {
	t.Helper()
	urlOf, err := sharedServer()
	if err == nil {
		err = template(t.Context(), urlOf, migrate)
	}
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	admin := urlOf("postgres")
	name := fmt.Sprintf("userd_test_%d_%d", os.Getpid(), databases.Add(1))
	if err := execute(t.Context(), admin, fmt.Sprintf(`create database %s template %s`, name, templateName())); err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(context.Background(), admin, fmt.Sprintf(`drop database %s with (force)`, name)); err != nil {
			t.Errorf("PostgreSQL for tests: %v", err)
		}
	})
	return urlOf(name)
}

var (
	databases  atomic.Int64
	templateMu sync.Mutex
	templated  bool
)

func templateName() string { return fmt.Sprintf("userd_template_%d", os.Getpid()) }

// template makes the database that the others are copied from, once.
func template(ctx context.Context, urlOf func(database string) string, migrate func(ctx context.Context, url string) error) error {
	templateMu.Lock()
	defer templateMu.Unlock()
	if templated {
		return nil
	}
	if err := execute(ctx, urlOf("postgres"), `create database `+templateName()); err != nil {
		return err
	}
	if err := migrate(ctx, urlOf(templateName())); err != nil {
		return err
	}
	templated = true
	return nil
}

func execute(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// sharedServer returns what makes the URLs of databases on the server that the tests
// of this process share. It holds on to a private one: when nobody refers to a
// Server any more, its guard ends it.
var sharedServer = sync.OnceValues(func() (urlOf func(database string) string, err error) {
	if given := os.Getenv(PostgresEnv); given != "" {
		_, err := url.Parse(given)
		return func(database string) string { return patient(given, "/"+database) }, err
	}
	server, err := startServer(inMemory(), "fsync=off", "full_page_writes=off", "max_connections=500", "max_wal_size=512MB")
	if err != nil {
		return nil, err
	}
	return func(database string) string { return patient(server.URL(database), "/"+database) }, nil
})

// patient is the URL of a database that gives a connection a minute, if the given one says
// nothing else: on a busy machine the server may stand still for longer than userd waits.
func patient(given, path string) string {
	of, err := url.Parse(given)
	if err != nil {
		return given
	}
	of.Path = path
	query := of.Query()
	if !query.Has("connect_timeout") {
		query.Set("connect_timeout", "60")
	}
	of.RawQuery = query.Encode()
	return of.String()
}

// Server is a private PostgreSQL server. It listens on a socket in a folder of its
// own. A guard process waits for the end of this process, however it comes, then
// kills the server and removes the folder.
type Server struct {
	bin, dir string
	settings []string
	guard    io.Closer
}

// NewServer starts a server with settings (name=value) beside the defaults, under
// which what is committed survives a crash. It ends with the test.
func NewServer(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := StartServer(settings...)
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// StartServer is [NewServer] for programs that are no tests. The caller closes the
// server; it ends with this process all the same.
func StartServer(settings ...string) (*Server, error) { return startServer("", settings...) }

func startServer(parent string, settings ...string) (*Server, error) {
	s, err := newServer(parent, settings)
	if err != nil {
		return nil, err
	}
	err = s.run("initdb", "-D", s.data(), "-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	if err == nil {
		err = s.start()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// newServer makes the folder of a server, in parent or among the temporary files,
// and its guard.
func newServer(parent string, settings []string) (*Server, error) {
	bin, err := pgbin.Dir()
	if err != nil {
		return nil, fmt.Errorf("%w, or set %s to the URL of a server", err, PostgresEnv)
	}
	dir, err := os.MkdirTemp(parent, "userd-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, settings: settings}
	if err := pgbin.Give(dir); err != nil {
		return nil, err
	}
	return s, s.startGuard()
}

// startGuard starts a shell that reads from a pipe whose other end this process
// holds, and cleans up at its end.
func (s *Server) startGuard() error {
	guard := s.command("sh", "-c", `
		trap '' INT TERM HUP
		read -r _
		pid=$(head -n 1 data/postmaster.pid 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
		for _ in $(seq 100); do
			[ -e data/postmaster.pid ] && kill -0 "$pid" 2>/dev/null || break
			sleep 0.05
		done
		rm -rf "$PWD"`)
	inOwnGroup(guard)
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	guard.Stdin = read
	if err := guard.Start(); err != nil {
		return err
	}
	s.guard = closer(func() error { return errors.Join(write.Close(), guard.Wait()) })
	return nil
}

type closer func() error

func (c closer) Close() error { return c() }

// Close ends the server and removes its folder.
func (s *Server) Close() { s.guard.Close() }

// URL returns the URL of a database on the server.
func (s *Server) URL(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {s.dir}, "user": {"postgres"}}.Encode()
}

// Login makes a superuser that has to give its password, and returns the URL of a
// database as that role.
func (s *Server) Login(t testing.TB, database, role, password string) string {
	t.Helper()
	rules := fmt.Sprintf("local all postgres trust\nlocal all %s scram-sha-256\n", role)
	err := os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(rules), 0o600)
	for _, sql := range []string{
		fmt.Sprintf(`create role %s login superuser password '%s'`, role, password),
		`select pg_reload_conf()`,
	} {
		err = errors.Join(err, execute(t.Context(), s.URL("postgres"), sql))
	}
	if err != nil {
		t.Fatalf("role on PostgreSQL: %v", err)
	}
	as := url.Values{"host": {s.dir}, "user": {role}, "password": {password}}
	return "postgres:///" + database + "?" + as.Encode()
}

// Host returns the folder of the server's socket, for URLs of several hosts.
func (s *Server) Host() string { return s.dir }

// Start starts the server after Kill.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
}

func (s *Server) start() error {
	options := []string{"-c listen_addresses=", "-c unix_socket_directories=" + s.dir}
	for _, setting := range s.settings {
		options = append(options, "-c "+setting)
	}
	return s.run("pg_ctl", "-D", s.data(), "-l", filepath.Join(s.dir, "log"), "-o", strings.Join(options, " "), "-w", "-t", "120", "start")
}

// Kill kills all processes of the server at once with SIGKILL.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	postmaster, err := s.postmaster()
	if err != nil {
		t.Fatalf("kill PostgreSQL: %v", err)
	}
	children := childrenOf(postmaster)
	for _, pid := range append([]int{postmaster}, children...) {
		process, err := os.FindProcess(pid)
		if err == nil {
			err = process.Kill()
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatalf("kill PostgreSQL: %v", err)
		}
	}
	for _, pid := range append(children, postmaster) {
		awaitDeath(pid)
	}
	// A dead process that nobody has waited for still looks alive to the next server.
	for _, lock := range []string{"data/postmaster.pid", ".s.PGSQL.5432.lock", ".s.PGSQL.5432"} {
		os.Remove(filepath.Join(s.dir, lock))
	}
}

// awaitDeath returns when a process has ended, waited for or not.
func awaitDeath(pid int) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(status, []byte(") Z ")) {
			return
		}
	}
}

// Promote makes a standby a primary, and returns when it is one.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if err := s.run("pg_ctl", "-D", s.data(), "-w", "promote"); err != nil {
		t.Fatalf("promote PostgreSQL: %v", err)
	}
}

// NewStandby starts a server that follows s as a streaming standby with this
// application name. It ends with the test.
func (s *Server) NewStandby(t testing.TB, name string) *Server {
	t.Helper()
	standby, err := newServer("", s.settings)
	if err != nil {
		t.Fatalf("PostgreSQL standby: %v", err)
	}
	t.Cleanup(standby.Close)
	err = standby.run("pg_basebackup", "-D", standby.data(), "-R", "-X", "stream", "-c", "fast",
		"-d", fmt.Sprintf("host=%s user=postgres application_name=%s", s.dir, name))
	if err == nil {
		err = standby.start()
	}
	if err != nil {
		t.Fatalf("PostgreSQL standby: %v", err)
	}
	return standby
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) postmaster() (int, error) {
	content, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	return strconv.Atoi(line)
}

func childrenOf(pid int) []int {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	var children []int
	for _, field := range strings.Fields(string(content)) {
		if child, err := strconv.Atoi(field); err == nil {
			children = append(children, child)
		}
	}
	return children
}

// run runs a PostgreSQL program to its end.
func (s *Server) run(program string, args ...string) error {
	var output bytes.Buffer
	command := s.Command(program, args...)
	// A file, not a pipe: the server that pg_ctl leaves behind would keep it open.
	log, err := os.CreateTemp("", "userd-postgres-output-")
	if err != nil {
		return err
	}
	defer os.Remove(log.Name())
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	if err := command.Run(); err != nil {
		content, _ := os.ReadFile(log.Name())
		output.Write(content)
		serverLog, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return fmt.Errorf("%s: %w\n%s%s", program, err, output.String(), serverLog)
	}
	return nil
}

// Command is a program of PostgreSQL, not run as root.
func (s *Server) Command(program string, args ...string) *exec.Cmd {
	return s.command(filepath.Join(s.bin, program), args...)
}

// command is a command in the server's folder, not as root: PostgreSQL refuses it.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	command := exec.Command(name, args...)
	command.Dir = s.dir
	if pgbin.RunAsServer(command) {
		command.Env = append(os.Environ(), "HOME="+s.dir)
	}
	return command
}
