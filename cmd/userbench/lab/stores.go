package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store/storetest"
)

// Redis starts a private Redis server with nothing on disk.
func (l *Lab) Redis() (redis *cachetest.Instance, err error) {
	err = onCores(l.Cores.Stores, func() error {
		redis, err = cachetest.StartInstance("--maxmemory", "512mb")
		return err
	})
	if err == nil {
		l.stop = append(l.stop, redis.Close)
	}
	return redis, err
}

// Postgres is a private PostgreSQL server with its default settings: what it
// answers as committed is on disk.
type Postgres struct {
	lab    *Lab
	server *storetest.Server
}

// Postgres starts a PostgreSQL server.
func (l *Lab) Postgres() (*Postgres, error) {
	p := &Postgres{lab: l}
	err := onCores(l.Cores.Stores, func() (err error) {
		p.server, err = storetest.StartServer("max_connections=200", "shared_buffers=256MB", "max_wal_size=4GB", "track_activity_query_size=16384")
		return err
	})
	if err == nil {
		l.stop = append(l.stop, p.server.Close)
	}
	return p, err
}

// Path is a file that the server's account can write.
func (p *Postgres) Path(name string) string { return filepath.Join(p.server.Host(), name) }

// URL is how userd names a database of the server, with more settings as a query has
// them. That a machine is busy must not fail a connection.
func (p *Postgres) URL(database, settings string) string {
	return p.server.URL(database) + "&connect_timeout=30" + settings
}

// SQL runs one statement or psql command and returns what it prints, unaligned.
func (p *Postgres) SQL(database, statement string) (string, error) {
	return p.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, database)
}

// Pgbench runs a script of pgbench for a time over this many connections and
// returns the transactions a second.
func (p *Postgres) Pgbench(database, script string, connections int, duration time.Duration) (float64, error) {
	file := p.lab.Path("pgbench.sql")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		return 0, err
	}
	text, err := p.run("pgbench", "-n", "-M", "prepared", "-c", strconv.Itoa(connections), "-j", "1",
		"-T", fmt.Sprintf("%.0f", duration.Seconds()), "-f", file, database)
	if err != nil {
		return 0, err
	}
	_, rate, _ := strings.Cut(text, "\ntps = ")
	rate, _, _ = strings.Cut(rate, " ")
	return strconv.ParseFloat(rate, 64)
}

// run runs a client of the server to its end.
func (p *Postgres) run(program string, args ...string) (string, error) {
	return p.lab.Run(p.server.Command(program, append([]string{"-h", p.server.Host(), "-U", "postgres"}, args...)...))
}
