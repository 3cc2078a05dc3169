package lab

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/example/userd/store/storetest/pgbin"
)

// startWait is how long a database server may take to start.
const startWait = 30 * time.Second

// Postgres is a private PostgreSQL server with its default settings: what it
// answers as committed is on disk.
type Postgres struct {
	lab *Lab
	bin string
	dir string // Of the socket.
}

// Postgres starts a PostgreSQL server.
func (l *Lab) Postgres(ctx context.Context) (*Postgres, error) {
	bin, err := pgbin.Dir()
	if err != nil {
		return nil, err
	}
	p := &Postgres{lab: l, bin: bin, dir: l.Path("postgres")}
	if err := p.makeCluster(ctx); err != nil {
		return nil, fmt.Errorf("make a PostgreSQL cluster: %w", err)
	}
	server := p.command(ctx, "postgres", "-D", p.data(), "-c", "listen_addresses=",
		"-c", "unix_socket_directories="+p.dir, "-c", "max_connections=200",
		"-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB", "-c", "track_activity_query_size=16384")
	running, err := l.start(server, l.Cores.Stores)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(startWait)
	for {
		_, err := p.SQL(ctx, "postgres", "select 1")
		switch {
		case err == nil:
			return p, nil
		case time.Now().After(deadline):
			return nil, fmt.Errorf("PostgreSQL does not start: %w: %s", err, running.output)
		}
		time.Sleep(10 * time.Millisecond) // A server that starts sends no event.
	}
}

func (p *Postgres) makeCluster(ctx context.Context) error {
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return err
	}
	if account := pgbin.Account(); account != nil {
		if err := os.Chown(p.dir, int(account.Uid), int(account.Gid)); err != nil {
			return err
		}
	}
	_, err := p.lab.Run(p.command(ctx, "initdb", "-D", p.data(), "-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"))
	return err
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// command is a PostgreSQL program, not as root: the server refuses it.
func (p *Postgres) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(p.bin, program), args...)
	command.Dir = p.dir
	command.SysProcAttr = new(syscall.SysProcAttr)
	if account := pgbin.Account(); account != nil {
		command.SysProcAttr.Credential = account
		command.Env = append(os.Environ(), "HOME="+p.dir)
	}
	return command
}

// Path is a file that the server's account can write.
func (p *Postgres) Path(name string) string { return filepath.Join(p.dir, name) }

// URL is how userd names a database of the server. Settings are added to it. That a
// machine is busy must not fail a connection.
func (p *Postgres) URL(database string, settings ...string) string {
	query := url.Values{"host": {p.dir}, "user": {"postgres"}, "connect_timeout": {strconv.Itoa(int(startWait / time.Second))}}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		query.Set(name, value)
	}
	return "postgres:///" + database + "?" + query.Encode()
}

// CreateDatabase creates a database, as a copy of another one where that is named.
func (p *Postgres) CreateDatabase(ctx context.Context, name, template string) error {
	statement := "create database " + name
	if template != "" {
		statement += " template " + template
	}
	_, err := p.SQL(ctx, "postgres", statement)
	return err
}

// SQL runs one statement or psql command and returns what it prints, unaligned.
func (p *Postgres) SQL(ctx context.Context, database, statement string) (string, error) {
	return p.lab.Run(p.command(ctx, "psql", "-h", p.dir, "-U", "postgres", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement))
}

// Transactions is the number of transactions that a database has seen. PostgreSQL
// publishes what an idle connection has done up to ten seconds late.
func (p *Postgres) Transactions(ctx context.Context, database string) (float64, error) {
	text, err := p.SQL(ctx, "postgres", "select xact_commit + xact_rollback from pg_stat_database where datname = '"+database+"'")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(text, 64)
}

// Pgbench runs a script of pgbench for a time over this many connections and
// returns the transactions a second.
func (p *Postgres) Pgbench(ctx context.Context, database, script string, connections int, duration time.Duration) (float64, error) {
	file := p.lab.Path("pgbench.sql")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		return 0, err
	}
	seconds := strconv.Itoa(max(1, int(duration.Round(time.Second)/time.Second)))
	text, err := p.lab.Run(p.command(ctx, "pgbench", "-h", p.dir, "-U", "postgres", "-n", "-M", "prepared",
		"-c", strconv.Itoa(connections), "-j", "1", "-T", seconds, "-f", file, database))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		var rate float64
		if n, _ := fmt.Sscanf(line, "tps = %f", &rate); n == 1 {
			return rate, nil
		}
	}
	return 0, fmt.Errorf("pgbench does not say its rate: %s", text)
}
