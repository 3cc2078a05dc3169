package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errURL says nothing of the URL, which may hold a password anywhere.
var errURL = errors.New("the database's URL cannot be read; special characters of user and password must be percent-encoded, " +
	"and where it is keys and values those with blanks quoted")

// Name is what a database may be called in the open: its user, hosts and name, as
// they were understood, and nothing else of the URL.
func Name(url string) (string, error) {
	config, err := Config{URL: url}.parse()
	if err != nil {
		return "", err
	}
	conn := &config.ConnConfig.Config
	hosts := []string{hostPort(conn.Host, conn.Port)}
	for _, fallback := range conn.Fallbacks { // One host is there with TLS and without.
		if host := hostPort(fallback.Host, fallback.Port); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return fmt.Sprintf("postgres://%s@%s/%s", conn.User, strings.Join(hosts, ","), conn.Database), nil
}

func hostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// parse reads the URL. Its errors say nothing of it but the name of a file that
// cannot be read.
func (c Config) parse() (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(c.URL)
	if err == nil {
		return config, nil
	}
	var parse *pgconn.ParseConfigError
	var file *fs.PathError
	if errors.As(err, &parse) && errors.As(err, &file) {
		return nil, fmt.Errorf("database URL: %w", file)
	}
	return nil, errURL
}
