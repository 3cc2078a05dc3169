package sqlite

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// applicationID marks our files (PRAGMA application_id): "uSeR".
const applicationID = 0x75536552

// Status reads which schema the file of config has. It changes nothing. A file
// that does not exist has none.
func Status(ctx context.Context, config Config) (store.Schema, error) {
	if _, err := os.Stat(config.Path); errors.Is(err, fs.ErrNotExist) {
		return wanted()
	}
	if err := checkLog(resolve(config.Path)); err != nil {
		return store.Schema{}, fmt.Errorf("open %s: %w", config.Path, err)
	}
	// A connection that can only read would leave a log behind.
	conn, err := connect(config.Path, sqlite.OpenReadWrite)
	if err != nil {
		return store.Schema{}, fmt.Errorf("open %s: %w", config.Path, translate(ctx, err))
	}
	defer conn.Close()
	return readSchema(conn)
}

// Migrate makes the file of config if it does not exist, brings its schema up to
// date and returns what it was before.
func Migrate(ctx context.Context, config Config) (store.Schema, error) {
	before, err := Status(ctx, config)
	if err != nil {
		return before, err
	}
	s, err := Open(ctx, config)
	if err != nil {
		return before, err
	}
	return before, s.Close()
}

func wanted() (store.Schema, error) {
	schema, err := migrations()
	return store.Schema{Wanted: int64(len(schema.Migrations))}, err
}

func readSchema(conn *sqlite.Conn) (store.Schema, error) {
	schema, err := wanted()
	if err != nil {
		return schema, err
	}
	foreign, err := scalar(conn, `select count(*) from sqlite_schema, pragma_application_id where application_id <> ?1`, applicationID)
	if err != nil {
		return schema, err
	}
	if foreign > 0 {
		return schema, errors.New("the database is one of another program")
	}
	schema.Current, err = scalar(conn, `pragma user_version`)
	return schema, err
}

func migrations() (sqlitemigration.Schema, error) {
	schema := sqlitemigration.Schema{AppID: applicationID}
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return schema, err
	}
	for _, name := range names { // In the order of their numbers.
		script, err := migrationFiles.ReadFile(name)
		if err != nil {
			return schema, err
		}
		schema.Migrations = append(schema.Migrations, string(script))
	}
	return schema, nil
}

// migrate brings the schema up to date and gives a new store its identity.
func migrate(ctx context.Context, conn *sqlite.Conn) error {
	found, err := readSchema(conn)
	if err != nil {
		return err
	}
	if found.Current > found.Wanted {
		return found.Check()
	}
	schema, err := migrations()
	if err != nil {
		return err
	}
	if err := sqlitemigration.Migrate(ctx, conn, schema); err != nil {
		return err
	}
	return identify(conn)
}

// identify makes the identity of a new store.
func identify(conn *sqlite.Conn) (err error) {
	end, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		return err
	}
	defer end(&err)
	made, err := scalar(conn, `select count(*) from meta`)
	if err != nil || made > 0 {
		return err
	}
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return err
	}
	return exec(conn, `insert into meta (incarnation, secret, pruned) values (?1, ?2, 0)`, uuid.NewString(), secret[:])
}
