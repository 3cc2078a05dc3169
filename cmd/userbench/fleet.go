package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// fleet builds programs once, seeds a database of each kind once, and starts the
// servers of a scenario.
type fleet struct {
	lab      *lab.Lab
	programs map[string]string
	help     string // Of userd serve.
	seeded   string // SQLite file with all users.
	postgres *lab.Postgres
	redis    *lab.Redis
	names    int
	servers  []*lab.Server
	closers  []func()
}

// Folders of what is built.
const (
	userdFolder    = "cmd/userd"
	storeoffFolder = "cmd/userbench/storeoff"
	peersFolder    = "cmd/userbench/peers"
)

// seedDatabase is the PostgreSQL database with all users, which others are copied
// from.
const seedDatabase = "seed"

// stop ends the servers of a scenario.
func (f *fleet) stop() {
	f.disconnect()
	for _, server := range f.servers {
		server.Stop()
	}
	f.servers = nil
}

// disconnect closes the load's connections.
func (f *fleet) disconnect() {
	for _, disconnect := range f.closers {
		disconnect()
	}
	f.closers = nil
}

func (f *fleet) program(ctx context.Context, folder string) (string, error) {
	if program, ok := f.programs[folder]; ok {
		return program, nil
	}
	build := f.lab.Build
	if folder == peersFolder {
		build = f.lab.BuildModule
	}
	program, err := build(ctx, folder)
	if err != nil {
		return "", err
	}
	if f.programs == nil {
		f.programs = make(map[string]string)
	}
	f.programs[folder] = program
	return program, nil
}

// serveHelp is what userd serve says of its flags.
func (f *fleet) serveHelp(ctx context.Context) (string, error) {
	program, err := f.program(ctx, userdFolder)
	if err != nil {
		return "", err
	}
	if f.help == "" {
		if f.help, err = f.lab.Run(exec.CommandContext(ctx, program, "serve", "--help")); err != nil {
			return "", fmt.Errorf("userd serve --help: %w", err)
		}
	}
	return f.help, nil
}

// need returns why a scenario cannot run with this userd.
func (f *fleet) need(ctx context.Context, parts ...string) error {
	help, err := f.serveHelp(ctx)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if !strings.Contains(help, part) {
			return unavailable("this userd has no " + part)
		}
	}
	return nil
}

// userd starts userd on its own processor.
func (f *fleet) userd(ctx context.Context, database string, flags ...string) (*lab.Server, error) {
	return f.start(ctx, true, database, flags...)
}

// unpinned starts userd on all processors.
func (f *fleet) unpinned(ctx context.Context, database string, flags ...string) (*lab.Server, error) {
	return f.start(ctx, false, database, flags...)
}

func (f *fleet) start(ctx context.Context, pinned bool, database string, flags ...string) (*lab.Server, error) {
	program, err := f.program(ctx, userdFolder)
	if err != nil {
		return nil, err
	}
	server, err := f.lab.Userd(ctx, pinned, program, append([]string{"--database", database}, flags...)...)
	if err != nil {
		return nil, err
	}
	f.servers = append(f.servers, server)
	return server, nil
}

// peer starts one of the peers with the users of a population.
func (f *fleet) peer(ctx context.Context, name string, users *population.Users) (*lab.Server, error) {
	return f.other(ctx, peersFolder, append(usersFlags(users), "-peer", name)...)
}

// tonic starts tonic with the users of a population, where it has been built.
func (f *fleet) tonic(ctx context.Context, users *population.Users) (*lab.Server, error) {
	program := filepath.Join(f.lab.Root(), ".tools", "tonic", "peer")
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return nil, unavailable("tonic is not built, run .ci/tonic")
	}
	served := f.lab.Path("users")
	if err := writeUsers(served, users); err != nil {
		return nil, err
	}
	return f.serve(ctx, program, served)
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

// storeoff starts the product's server without a store.
func (f *fleet) storeoff(ctx context.Context, users *population.Users) (*lab.Server, error) {
	return f.other(ctx, storeoffFolder, usersFlags(users)...)
}

func usersFlags(users *population.Users) []string {
	return []string{"-users", fmt.Sprint(users.Len()), "-size", fmt.Sprint(users.Size()), "-kind", fmt.Sprint(users.Kind())}
}

func (f *fleet) other(ctx context.Context, folder string, args ...string) (*lab.Server, error) {
	program, err := f.program(ctx, folder)
	if err != nil {
		return nil, err
	}
	return f.serve(ctx, program, args...)
}

// serve starts a program that is no userd on the server's processor.
func (f *fleet) serve(ctx context.Context, program string, args ...string) (*lab.Server, error) {
	server, err := f.lab.Serve(ctx, true, program, args...)
	if err != nil {
		return nil, err
	}
	f.servers = append(f.servers, server)
	return server, nil
}

// newName is a name that no database of this run has.
func (f *fleet) newName() string {
	f.names++
	return fmt.Sprintf("bench%d", f.names)
}

// sqlite is the address of a new SQLite database with these users.
func (f *fleet) sqlite(ctx context.Context, users ...*population.Users) (string, error) {
	if f.seeded == "" {
		path := f.lab.Path("seed.db")
		if err := f.seed(ctx, "sqlite:"+path, users...); err != nil {
			return "", fmt.Errorf("seed SQLite: %w", err)
		}
		f.seeded = path
	}
	path := f.lab.Path(f.newName() + ".db")
	return "sqlite:" + path, copyFile(path, f.seeded)
}

// emptySQLite is the address of a SQLite database that does not exist yet.
func (f *fleet) emptySQLite() string { return "sqlite:" + f.lab.Path(f.newName()+".db") }

// postgresServer starts PostgreSQL where it does not run.
func (f *fleet) postgresServer(ctx context.Context) (*lab.Postgres, error) {
	if f.postgres != nil {
		return f.postgres, nil
	}
	if err := f.need(ctx, "postgres://"); err != nil {
		return nil, err
	}
	var err error
	f.postgres, err = f.lab.Postgres(ctx)
	return f.postgres, err
}

// redisServer starts Redis where it does not run.
func (f *fleet) redisServer(ctx context.Context) (*lab.Redis, error) {
	if f.redis != nil {
		return f.redis, nil
	}
	if err := f.need(ctx, "--redis"); err != nil {
		return nil, err
	}
	var err error
	f.redis, err = f.lab.Redis(ctx)
	return f.redis, err
}

// postgresDatabase makes a PostgreSQL database with these users and returns its
// name.
func (f *fleet) postgresDatabase(ctx context.Context, users ...*population.Users) (string, error) {
	server, err := f.postgresServer(ctx)
	if err != nil {
		return "", err
	}
	found, err := server.SQL(ctx, "postgres", "select count(*) from pg_database where datname = '"+seedDatabase+"'")
	if err != nil {
		return "", err
	}
	if found == "0" {
		if err := f.emptyPostgres(ctx, seedDatabase); err != nil {
			return "", err
		}
		if err := f.seed(ctx, server.URL(seedDatabase), users...); err != nil {
			return "", fmt.Errorf("seed PostgreSQL: %w", err)
		}
		if _, err := server.SQL(ctx, seedDatabase, "vacuum analyze"); err != nil {
			return "", err
		}
	}
	name := f.newName()
	return name, server.CreateDatabase(ctx, name, seedDatabase)
}

// emptyPostgres makes a PostgreSQL database with the schema and nothing else.
func (f *fleet) emptyPostgres(ctx context.Context, name string) error {
	server, err := f.postgresServer(ctx)
	if err != nil {
		return err
	}
	program, err := f.program(ctx, userdFolder)
	if err != nil {
		return err
	}
	if err := server.CreateDatabase(ctx, name, ""); err != nil {
		return err
	}
	if _, err := f.lab.Run(exec.CommandContext(ctx, program, "migrate", "up", "--database", server.URL(name))); err != nil {
		return fmt.Errorf("userd migrate up: %w", err)
	}
	return nil
}

// seed imports users through a server that ends thereafter.
func (f *fleet) seed(ctx context.Context, database string, users ...*population.Users) error {
	server, err := f.unpinned(ctx, database)
	if err != nil {
		return err
	}
	session, err := load.DialSession(server.Address, 0)
	if err != nil {
		return err
	}
	for _, u := range users {
		for from := 0; from < u.Len(); from += maxImport {
			rows, err := importRows(u, from, min(from+maxImport, u.Len()))
			if err != nil {
				return err
			}
			if err := importInto(session, rows); err != nil {
				return err
			}
		}
	}
	session.Close()
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
		row := users.Row(i)
		r.messages = load.AppendPrefix(r.messages, proto.Size(row))
		var err error
		if r.messages, err = (proto.MarshalOptions{}).MarshalAppend(r.messages, row); err != nil {
			return rows{}, err
		}
	}
	return r, nil
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
		return errors.Join(fmt.Errorf("%d of %d rows were stored", response.GetSuccessCount(), r.count),
			fmt.Errorf("%v", response.GetFailures()[:min(1, len(response.GetFailures()))]))
	}
	return nil
}
