package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"github.com/example/userd/cmd/userd/cli"
	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/sqlite"
	"github.com/example/userd/store/stats"
)

// databaseUsage says what a --database can be.
const databaseUsage = "sqlite:FILE or postgres://USER:PASSWORD@HOST/NAME, or as libpq has it, 'host=HOST user=USER dbname=NAME'"

// postgresSetting matches what is a setting of PostgreSQL, right or wrong.
var postgresSetting = regexp.MustCompile(`^(postgres(ql)?://|[a-z_]+ *=)`)

// database is where users are kept, as a --database names it.
type database struct {
	name string // As it may be shown.
	path string // Of the file, for SQLite.
	url  string // Of PostgreSQL, or keys and values.
}

// parseDatabase reads the value of a flag.
func parseDatabase(flag, value string) (database, error) {
	if path, ok := strings.CutPrefix(value, "sqlite:"); ok && path != "" {
		return database{name: value, path: path}, nil
	}
	if postgresSetting.MatchString(value) {
		name, err := postgres.Name(value)
		if err != nil {
			return database{}, cli.Wrong(fmt.Errorf("%s: %w", flag, err))
		}
		return database{name: name, url: value}, nil
	}
	// Whatever it is, it may hold a password.
	return database{}, cli.Wrong(fmt.Errorf("%s must be %s", flag, databaseUsage))
}

// String is the name, without passwords.
func (d database) String() string { return d.name }

// engine is a store as a database has it.
type engine interface {
	store.Copyable
	Stats() stats.Store
}

// system is what OpenTelemetry calls the database.
func (d database) system() string {
	if d.path != "" {
		return "sqlite"
	}
	return "postgresql"
}

// open opens the store to write to it. A SQLite file is then nobody else's.
func (d database) open(ctx context.Context, logger *slog.Logger) (engine, error) {
	return d.openAs(ctx, logger, false)
}

// openWhole is open for all that is no copy: one that has not ended lacks users.
func (d database) openWhole(ctx context.Context, logger *slog.Logger) (engine, error) {
	opened, err := d.open(ctx, logger)
	if err != nil {
		return nil, err
	}
	return whole(ctx, opened)
}

// openShared opens the store to look at it, beside a server that has it open.
func (d database) openShared(ctx context.Context) (store.Copyable, error) {
	schema, err := d.status(ctx)
	if err != nil {
		return nil, err
	}
	if schema.Current == 0 {
		return nil, errors.New("there is no database of userd")
	}
	opened, err := d.openAs(ctx, nil, true)
	if err != nil {
		return nil, err
	}
	return whole(ctx, opened)
}

// whole is a store, or an error where it has a part of a copy.
func whole(ctx context.Context, opened engine) (engine, error) {
	unfinished, err := opened.Unfinished(ctx)
	if unfinished {
		err = errors.New("users are missing: a copy into this database was interrupted, or has found a difference; start `userd copy` again, or delete this database and copy anew")
	}
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return opened, nil
}

func (d database) openAs(ctx context.Context, logger *slog.Logger, shared bool) (engine, error) {
	if d.path != "" {
		config := sqlite.Config{Path: d.path, Logger: logger, Shared: shared}
		config.SpareProcessor = os.Getenv("GOMAXPROCS") == "" // Who sets it, decides.
		return sqlite.Open(ctx, config)
	}
	return postgres.Open(ctx, postgres.Config{URL: d.url, Logger: logger})
}

// status reads the schema.
func (d database) status(ctx context.Context) (store.Schema, error) {
	if d.path != "" {
		return sqlite.Status(ctx, sqlite.Config{Path: d.path})
	}
	return postgres.Status(ctx, postgres.Config{URL: d.url})
}

// makeSchema makes the schema of a database that is new. An older one is left to whoever has it.
func (d database) makeSchema(ctx context.Context) error {
	schema, err := d.status(ctx)
	if err != nil || schema.Current > 0 {
		return errors.Join(err, schema.Check())
	}
	_, err = d.migrate(ctx)
	return err
}

// migrate brings the schema up to date and returns what it was before.
func (d database) migrate(ctx context.Context) (store.Schema, error) {
	if d.path != "" {
		return sqlite.Migrate(ctx, sqlite.Config{Path: d.path})
	}
	return postgres.Migrate(ctx, postgres.Config{URL: d.url})
}
