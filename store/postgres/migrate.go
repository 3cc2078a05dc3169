package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/example/userd/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// schemaVersion is the version of the schema that this program works with: the
// number of the newest file in migrations.
const schemaVersion = 1

// Status reads which schema the database of config has. It changes nothing. It
// returns store.ErrUnavailable when the database cannot be reached.
func Status(ctx context.Context, config Config) (store.Schema, error) {
	pool, _, err := config.pool(ctx)
	if err != nil {
		return store.Schema{}, err
	}
	defer pool.Close()
	return readSchema(ctx, pool)
}

// Migrate brings the schema of the database up to date and returns what it was
// before. Of several servers that migrate at once one does it and the others
// wait, for five minutes at most. It returns store.ErrUnavailable when the
// database cannot be reached.
func Migrate(ctx context.Context, config Config) (store.Schema, error) {
	pool, _, err := config.pool(ctx)
	if err != nil {
		return store.Schema{}, err
	}
	defer pool.Close()
	before, err := readSchema(ctx, pool)
	if err != nil || before.Current >= before.Wanted {
		return before, err
	}
	if err := migrateUp(ctx, pool); err != nil {
		return before, fmt.Errorf("migrate: %w", translate(ctx, err))
	}
	return before, nil
}

func migrateUp(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

func readSchema(ctx context.Context, pool *pgxpool.Pool) (store.Schema, error) {
	schema := store.Schema{Wanted: schemaVersion}
	err := pool.QueryRow(ctx, `select coalesce(max(version_id), 0) from goose_db_version where is_applied`).Scan(&schema.Current)
	if noTable(err) {
		return schema, nil
	}
	if err != nil {
		return schema, fmt.Errorf("read schema version: %w", translate(ctx, err))
	}
	return schema, nil
}

func noTable(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "42P01" // undefined_table
}

// adopt makes a new incarnation when this database is not the one that the
// incarnation was made in: a dump restored elsewhere, or a copy of a database.
// Transaction ids mean nothing there, so the change log starts anew.
func adopt(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update meta set home = here.home, incarnation = gen_random_uuid(), secret = default,
				pruned_through = '0', pruned_recent = '{}', pruned_seq = 0, pruned_rows = 0
			from (
				select format('%s/%s/%s', system_identifier, pg_database.oid, 'changes'::regclass::oid) as home
				from pg_control_system(), pg_database
				where datname = current_database()
			) here
			where meta.home <> here.home`)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `truncate changes`)
		return err
	})
}
