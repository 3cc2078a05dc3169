package storetest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store/storetest/pgbin"
)

// PgBouncer starts a PgBouncer before the database at an URL, with settings
// ("name = value") as in the section [pgbouncer] of its file, and returns the URL of
// the database through it. It ends with the test.
func PgBouncer(t testing.TB, database string, settings ...string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // Debian's place, which only root's PATH has.
	}
	if err != nil {
		t.Fatal("PgBouncer for tests: .ci/install installs it, or apt-get install pgbouncer")
	}
	to, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "userd-pgbouncer-") // Short enough for the name of a socket.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file, users := filepath.Join(dir, "pgbouncer.ini"), filepath.Join(dir, "users.txt")
	lines := append([]string{
		"[databases]",
		fmt.Sprintf("* = host=%s port=%d", to.Host, to.Port),
		"[pgbouncer]", "listen_addr =", "unix_socket_dir = " + dir, "auth_type = trust", "auth_file = " + users,
	}, settings...)
	err = errors.Join(
		os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644),
		os.WriteFile(users, fmt.Appendf(nil, "%q %q\n", to.User, to.Password), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	startPgBouncer(t, exec.Command(program, file), dir)
	of := url.Values{"host": {dir}, "port": {"6432"}, "user": {to.User}}
	return "postgres:///" + to.Database + "?" + of.Encode()
}

// startPgBouncer starts the program, not as root, which it refuses, and returns when
// it listens.
func startPgBouncer(t testing.TB, command *exec.Cmd, dir string) {
	t.Helper()
	dieWithParent(command)
	pgbin.RunAsServer(command)
	if err := pgbin.Give(dir); err != nil {
		t.Fatal(err)
	}
	log, err := command.StderrPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatalf("PgBouncer for tests: %v", err)
	}
	up, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		var said bytes.Buffer
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if said.WriteString(lines.Text() + "\n"); strings.Contains(lines.Text(), "process up") {
				select {
				case up <- nil:
				default:
				}
			}
		}
		select {
		case up <- errors.New(said.String()):
		default:
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		_ = command.Wait() // Killed, as it should be.
	})
	if err := <-up; err != nil {
		t.Fatalf("PgBouncer for tests: %v", err)
	}
}
