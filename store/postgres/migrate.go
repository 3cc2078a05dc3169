package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/example/userd/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// schemaVersion is the version of the schema that this program works with: the
// number of the newest file in migrations.
const schemaVersion = 1

// schemaParts is what schemaVersion consists of, as partsSQL has it.
var schemaParts = strings.Fields(`
	users.id:uuid users.email:text users.display_name:text users.folded_name:text users.roles:_text
	users.created_at:timestamptz users.updated_at:timestamptz users.last_login:timestamptz users.version:int8
	deleted_users.id:uuid deleted_users.version:int8 deleted_users.deleted_at:timestamptz
	changes.seq:int8 changes.xid:xid8 changes.user_id:uuid changes.version:int8 changes.kind:change_kind changes.at:timestamptz
	meta.only_row:bool meta.incarnation:uuid meta.secret:bytea meta.home:text meta.copy_of:text
	meta.pruned_through:xid8 meta.pruned_recent:_xid8 meta.pruned_seq:int8 meta.pruned_rows:int8
	users_pkey users_email_key users_position users_roles deleted_users_pkey changes_pkey changes_xid meta_pkey
	refuse_deleted_ids`)

const (
	// The tables that have our names.
	oursSQL = `
		with ours as (
			select to_regclass(name)::oid as id from unnest(array['users', 'deleted_users', 'changes', 'meta']) as name
		)`

	// Those that hide rows from us.
	hidingSQL = oursSQL + `
		select coalesce(string_agg(relname, ', ' order by relname), '')
		from pg_class where oid in (select id from ours) and row_security_active(oid)`

	// Their columns, indexes and triggers.
	partsSQL = oursSQL + `
		select relname || '.' || attname || ':' || typname
		from pg_attribute join pg_class on pg_class.oid = attrelid join pg_type on pg_type.oid = atttypid
		where attrelid in (select id from ours) and attnum > 0 and not attisdropped
		union all
		select relname from pg_index join pg_class on pg_class.oid = indexrelid
		where indrelid in (select id from ours) and indisvalid
		union all
		select tgname from pg_trigger
		where tgrelid in (select id from ours) and not tgisinternal and tgenabled in ('O', 'A')`

	recordedSQL = `select coalesce(max(version), 0) from userd_migrations`

	// Servers that migrate at once take turns. The number is one that no other program
	// is likely to have.
	beginMigrationSQL = `
		set local statement_timeout = 0; set local lock_timeout = 0;
		select pg_advisory_xact_lock(8463528840917346213);
		create table if not exists userd_migrations (
			version    bigint      primary key,
			applied_at timestamptz not null default now()
		)`
)

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Status reads which schema the database of config has. It changes nothing. It
// returns an error when the database has tables with the names of ours that are not
// as this program makes them, and store.ErrUnavailable when it cannot be reached.
func Status(ctx context.Context, config Config) (store.Schema, error) {
	pool, err := config.connectAlone(ctx)
	if err != nil {
		return store.Schema{}, err
	}
	defer pool.Close()
	schema, _, err := readSchema(ctx, pool)
	return schema, err
}

// Migrate brings the schema of the database up to date and returns what it was
// before. Of several servers that migrate at once one does it and the others
// wait. When Migrate returns nil it has seen the schema to be the one that this
// program needs. It returns the error of Schema.Check for a newer one, those of
// Status, and store.ErrUnavailable when the database cannot be reached.
func Migrate(ctx context.Context, config Config) (store.Schema, error) {
	pool, err := config.connectAlone(ctx)
	if err != nil {
		return store.Schema{}, err
	}
	defer pool.Close()
	before, recorded, err := readSchema(ctx, pool)
	if err != nil {
		return before, err
	}
	if recorded && before.Current >= before.Wanted {
		return before, before.Check()
	}
	if err := migrateUp(ctx, pool); err != nil {
		return before, fmt.Errorf("migrate: %w", translate(ctx, err))
	}
	return before, nil
}

// migrateUp applies the migrations that are missing, all in one transaction, which
// works through a connection pooler too.
func migrateUp(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, beginMigrationSQL); err != nil {
			return err
		}
		found, _, err := readSchema(ctx, tx)
		if err != nil {
			return err
		}
		if found.Current > found.Wanted {
			return found.Check()
		}
		if err := applySince(ctx, tx, found.Current); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `insert into userd_migrations (version) select generate_series(1, $1::bigint) on conflict do nothing`, schemaVersion)
		if err != nil {
			return err
		}
		if found, _, err = readSchema(ctx, tx); err != nil {
			return err
		}
		return found.Check()
	})
}

// applySince applies the migrations after a version. Their files are in the order of
// their numbers.
func applySince(ctx context.Context, tx pgx.Tx, version int64) error {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return err
	}
	for _, name := range names[version:] {
		script, err := migrationFiles.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(script)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// readSchema looks at the schema itself, and reports whether its version is recorded.
// One without a record, from when userd shared the table of goose with
// other programs, is known by its parts.
func readSchema(ctx context.Context, from querier) (schema store.Schema, recorded bool, err error) {
	schema.Wanted = schemaVersion
	if schema.Current, err = readVersion(ctx, from); err != nil {
		return schema, false, fmt.Errorf("read schema version: %w", translate(ctx, err))
	}
	rows, _ := from.Query(ctx, partsSQL)
	parts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return schema, false, fmt.Errorf("read schema: %w", translate(ctx, err))
	}
	if err := checkRowSecurity(ctx, from); err != nil {
		return schema, false, err
	}
	recorded = schema.Current > 0
	missing := slices.DeleteFunc(slices.Clone(schemaParts), func(part string) bool { return slices.Contains(parts, part) })
	switch {
	case recorded && schema.Current != schema.Wanted: // Its parts are others.
	case !recorded && len(parts) == 0:
	case len(missing) > 0 && recorded:
		err = fmt.Errorf("the schema should be at version %d, but lacks %s: restore it from a backup", schema.Current, strings.Join(missing, ", "))
	case len(missing) > 0:
		err = fmt.Errorf("the database has tables of another program with names that userd needs (%s and others are missing): "+
			"use another database, or a schema of userd's own (search_path)", missing[0])
	default:
		schema.Current = schemaVersion
	}
	return schema, recorded, err
}

// checkRowSecurity refuses tables of which we would see a part.
func checkRowSecurity(ctx context.Context, from querier) error {
	var hiding string
	if err := from.QueryRow(ctx, hidingSQL).Scan(&hiding); err != nil {
		return fmt.Errorf("read row security: %w", translate(ctx, err))
	}
	if hiding == "" {
		return nil
	}
	return refusal("row security hides rows of " + hiding + " from userd: " +
		"switch it off with `alter table NAME disable row level security`, or give the role bypassrls")
}

// readVersion returns the version that is recorded, or 0.
func readVersion(ctx context.Context, from querier) (version int64, err error) {
	var exists bool
	err = from.QueryRow(ctx, `select to_regclass('userd_migrations') is not null`).Scan(&exists)
	if err == nil && exists {
		err = from.QueryRow(ctx, recordedSQL).Scan(&version)
	}
	return version, err
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
