package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// fleet builds programs once, seeds a database of each kind once, and starts the
// servers of a scenario.
type fleet struct {
	lab        *lab.Lab
	users      *population.Users // In the databases, and of the peers.
	buildFlags []string
	programs   map[string]string // By tree and folder.
	seeded     map[string]string // SQLite files with all users, by the tree whose userd made them.
	postgres   *lab.Postgres
	redis      *cachetest.Instance
	template   string // PostgreSQL database with all users.
	names      int
	servers    []*lab.Server
	closers    []func()
}

// Folders of what is built.
const (
	userdFolder    = "cmd/userd"
	storeoffFolder = "cmd/userbench/storeoff"
	peersFolder    = "cmd/userbench/peers"
)

// stop closes the load's connections and ends the servers of a scenario.
func (f *fleet) stop() {
	for _, disconnect := range f.closers {
		disconnect()
	}
	for _, server := range f.servers {
		server.Stop()
	}
	f.closers, f.servers = nil, nil
}

// program builds a command of a tree of the project. What has the server in it is
// optimized as userd is.
func (f *fleet) program(ctx context.Context, root, folder string) (string, error) {
	key := filepath.Join(root, folder)
	if program, ok := f.programs[key]; ok {
		return program, nil
	}
	flags := f.buildFlags
	if folder != peersFolder {
		flags = append(flags, "-pgo="+filepath.Join(root, userdFolder, "default.pgo"))
	}
	program, err := f.lab.Build(ctx, root, folder, flags...)
	if err == nil {
		f.programs[key] = program
	}
	return program, err
}

// userd starts this userd, on its own processor or on all.
func (f *fleet) userd(ctx context.Context, pinned bool, database string, flags ...string) (*lab.Server, error) {
	return f.userdOf(ctx, f.lab.Root(), pinned, database, flags...)
}

// userdOf starts userd of a tree of the project.
func (f *fleet) userdOf(ctx context.Context, root string, pinned bool, database string, flags ...string) (*lab.Server, error) {
	program, err := f.program(ctx, root, userdFolder)
	if err != nil {
		return nil, err
	}
	return f.started(f.lab.Userd(ctx, pinned, program, append([]string{"--database", database}, flags...)...))
}

func (f *fleet) started(server *lab.Server, err error) (*lab.Server, error) {
	if err == nil {
		f.servers = append(f.servers, server)
	}
	return server, err
}

// other starts a server of this project that is no userd.
func (f *fleet) other(ctx context.Context, folder string, flags ...string) (*lab.Server, error) {
	program, err := f.program(ctx, f.lab.Root(), folder)
	if err != nil {
		return nil, err
	}
	return f.started(f.lab.Serve(ctx, true, program, append(flags, "-users", fmt.Sprint(f.users.Len()))...))
}

// tonic starts tonic, where it has been built.
func (f *fleet) tonic(ctx context.Context) (*lab.Server, error) {
	program := filepath.Join(f.lab.Root(), ".tools", "tonic", "peer")
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return nil, unavailable("tonic is not built, run .ci/tonic")
	}
	served := f.lab.Path("users")
	if err := writeUsers(served, f.users); err != nil {
		return nil, err
	}
	return f.started(f.lab.Serve(ctx, true, program, served))
}

// writeUsers writes a file that has all users.
func writeUsers(path string, users *population.Users) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(file)
	return errors.Join(users.Write(buffered), buffered.Flush(), file.Close())
}

// h2o starts h2o, a server in C, where it is installed. All it has is the answer of a Connect GET
// for the first user, as a file: what HTTP/2 alone costs.
func (f *fleet) h2o(ctx context.Context) (*lab.Server, error) {
	program, err := exec.LookPath("h2o")
	if err != nil {
		return nil, unavailable("h2o is not installed")
	}
	answer, err := proto.Marshal(&userv1.GetUserResponse{User: f.users.User(0)})
	if err != nil {
		return nil, err
	}
	file := f.lab.Path(filepath.Join("static", userv1connect.UserServiceGetUserProcedure))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, answer, 0o644); err != nil {
		return nil, err
	}
	address, err := cachetest.NewAddress()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(address)
	config := f.lab.Path("h2o.conf")
	text := fmt.Sprintf(h2oConfig, host, port, f.lab.Path("static"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return f.started(f.lab.ServeAt(ctx, address, program, "--conf", config))
}

// h2oConfig has the host and the port to listen on, and the folder of the files. It drops the
// privileges of nobody, since only root has any, and the folder may be root's.
const h2oConfig = `
num-threads: 1
max-connections: 4096
http2-max-concurrent-requests-per-connection: 1000
listen: {host: %s, port: %s}
hosts:
  default:
    paths:
      /:
        file.dir: %s
        file.mime.setdefaulttype: application/proto
        file.etag: OFF
`

// newName is a name that no database of this run has.
func (f *fleet) newName() string {
	f.names++
	return fmt.Sprintf("bench%d", f.names)
}

// userdOnSQLite starts userd of a tree on a new database with all users.
func (f *fleet) userdOnSQLite(ctx context.Context, root string, flags ...string) (*lab.Server, error) {
	database, err := f.sqlite(ctx, root)
	if err != nil {
		return nil, err
	}
	return f.userdOf(ctx, root, true, database, flags...)
}

// sqlite is the address of a new SQLite database with all users, for userd of a tree.
func (f *fleet) sqlite(ctx context.Context, root string) (string, error) {
	database := f.emptySQLite()
	if f.seeded[root] == "" {
		if err := f.seed(ctx, root, database, f.users); err != nil {
			return "", fmt.Errorf("seed SQLite: %w", err)
		}
		f.seeded[root], database = database, f.emptySQLite()
	}
	return database, copyFile(sqliteFile(database), sqliteFile(f.seeded[root]))
}

// emptySQLite is the address of a SQLite database that does not exist yet.
func (f *fleet) emptySQLite() string { return sqliteScheme + f.lab.Path(f.newName()+".db") }

const sqliteScheme = "sqlite:"

// sqliteFile is the file of a SQLite database.
func sqliteFile(database string) string { return database[len(sqliteScheme):] }

// copyFile copies a database that nobody has open.
func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// redisServer starts Redis where it does not run.
func (f *fleet) redisServer() (*cachetest.Instance, error) {
	if f.redis != nil {
		return f.redis, nil
	}
	var err error
	f.redis, err = f.lab.Redis()
	return f.redis, err
}

// userdOnPostgres starts userd on a new PostgreSQL database with all users.
func (f *fleet) userdOnPostgres(ctx context.Context, flags ...string) (*lab.Server, error) {
	database, err := f.postgresDatabase(ctx)
	if err != nil {
		return nil, err
	}
	return f.userd(ctx, true, f.postgres.URL(database, ""), flags...)
}

// postgresDatabase makes a PostgreSQL database with all users and returns its name.
func (f *fleet) postgresDatabase(ctx context.Context) (string, error) {
	if f.template == "" {
		name, err := f.emptyPostgres(ctx)
		if err != nil {
			return "", err
		}
		if err := f.seed(ctx, f.lab.Root(), f.postgres.URL(name, ""), f.users); err != nil {
			return "", fmt.Errorf("seed PostgreSQL: %w", err)
		}
		if _, err := f.postgres.SQL(name, "vacuum analyze"); err != nil {
			return "", err
		}
		f.template = name
	}
	name := f.newName()
	_, err := f.postgres.SQL("postgres", "create database "+name+" template "+f.template)
	return name, err
}

// emptyPostgres makes a PostgreSQL database with the schema and nothing else. It
// starts PostgreSQL where it does not run.
func (f *fleet) emptyPostgres(ctx context.Context) (name string, err error) {
	return f.emptyPostgresOf(ctx, f.lab.Root())
}

// emptyPostgresOf is emptyPostgres with the schema of a tree.
func (f *fleet) emptyPostgresOf(ctx context.Context, root string) (name string, err error) {
	if f.postgres == nil {
		if f.postgres, err = f.lab.Postgres(); err != nil {
			return "", err
		}
	}
	program, err := f.program(ctx, root, userdFolder)
	if err != nil {
		return "", err
	}
	name = f.newName()
	if _, err := f.postgres.SQL("postgres", "create database "+name); err != nil {
		return "", err
	}
	if _, err := f.lab.Run(exec.CommandContext(ctx, program, "migrate", "up", "--database", f.postgres.URL(name, ""))); err != nil {
		return "", fmt.Errorf("userd migrate up: %w", err)
	}
	return name, nil
}

// seed imports users through a server that ends thereafter.
func (f *fleet) seed(ctx context.Context, root, database string, users *population.Users) error {
	server, err := f.userdOf(ctx, root, false, database)
	if err != nil {
		return err
	}
	session, err := load.DialSession(server.Address, 0)
	if err != nil {
		return err
	}
	for from := 0; from < users.Len(); from += maxImport {
		rows, err := importRows(users, from, min(from+maxImport, users.Len()))
		if err != nil {
			return err
		}
		if err := importInto(session, rows); err != nil {
			return err
		}
	}
	session.Close()
	if err := server.AwaitIdle(ctx); err != nil {
		return err
	}
	return server.Drain()
}

// maxImport is the most rows of one import.
const maxImport = 100_000

// rows are the messages of an import.
type rows struct {
	messages []byte // Each behind its prefix.
	count    int
}

func importRows(users *population.Users, from, to int) (rows, error) {
	r := rows{count: to - from}
	for i := from; i < to; i++ {
		message, err := framed(users.Row(i))
		if err != nil {
			return rows{}, err
		}
		r.messages = append(r.messages, message...)
	}
	return r, nil
}

// framed is a message behind its prefix.
func framed(message proto.Message) ([]byte, error) {
	return (proto.MarshalOptions{}).MarshalAppend(load.AppendPrefix(nil, proto.Size(message)), message)
}

// importInto imports rows through one stream and checks that all are stored.
func importInto(session *load.Session, r rows) error {
	var response userv1.BatchCreateUsersResponse
	stream := session.Open("BatchCreateUsers", func(message []byte) error { return proto.Unmarshal(message, &response) })
	stream.Send(r.messages)
	stream.CloseSend()
	if err := stream.Wait(); err != nil {
		return err
	}
	if int(response.GetSuccessCount()) != r.count || len(response.GetCreatedUserIds()) != r.count {
		return fmt.Errorf("%d of %d rows were stored: %v", response.GetSuccessCount(), r.count,
			response.GetFailures()[:min(1, len(response.GetFailures()))])
	}
	return nil
}
