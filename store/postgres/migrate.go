package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/example/userd/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// schemaVersion is the version of the schema that this program works with: the
// number of the newest file in migrations.
var schemaVersion = int64(len(schemaParts))

// schemaParts is what each version adds to the schema, as partsSQL has it.
var schemaParts = [][]string{
	strings.Fields(`
		users.id:uuid users.email:text users.display_name:text users.folded_name:text users.roles:_text
		users.created_at:timestamptz users.updated_at:timestamptz users.last_login:timestamptz users.version:int8
		deleted_users.id:uuid deleted_users.version:int8 deleted_users.deleted_at:timestamptz
		changes.seq:int8 changes.xid:xid8 changes.user_id:uuid changes.version:int8 changes.kind:change_kind changes.at:timestamptz
		meta.only_row:bool meta.incarnation:uuid meta.secret:bytea meta.home:text meta.copy_of:text
		meta.pruned_through:xid8 meta.pruned_recent:_xid8 meta.pruned_seq:int8 meta.pruned_rows:int8
		users_pkey users_email_key users_position users_roles deleted_users_pkey changes_pkey changes_xid meta_pkey
		refuse_deleted_ids`),
	strings.Fields(`users.disabled:bool users.external_id:text users.attributes:jsonb users_external_id_key`),
	strings.Fields(`users_name users_attributes users_disabled`),
}

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

	// Servers that migrate at once take turns. Nobody waits for the lock: making an index
	// concurrently waits for the ends of all statements that have begun before. The number
	// is one that no other program is likely to have.
	beginTurnSQL = `begin; select set_config(name, '0', true) from pg_settings
		where name in ('idle_in_transaction_session_timeout', 'transaction_timeout')`
	takeTurnSQL = `select pg_try_advisory_xact_lock(8463528840917346213)`
	turnPause   = 100 * time.Millisecond

	// A step that waits for a long transaction makes everybody else wait behind it, servers
	// at work too, which do so for 2 s: it gives up sooner than they do, but not before
	// PostgreSQL ends a vacuum that is in the way, after 1 s. Then it tries again, and
	// others can work in between.
	beginStepSQL = `begin; select set_config(name, case name when 'lock_timeout' then '1500' else '0' end, true) from pg_settings
		where name in ('statement_timeout', 'transaction_timeout', 'lock_timeout')`
	stepAttempts = 20
	stepPause    = time.Second

	createRecordSQL = `
		create table if not exists userd_migrations (
			version    bigint      primary key,
			applied_at timestamptz not null default now()
		)`
	recordSQL = `insert into userd_migrations (version) select generate_series(1, $1::bigint) on conflict do nothing`

	// An index takes as long as it takes, and hinders nobody. With a pooler the limits are
	// not ours. $1 server process
	withoutLimitsSQL = `
		select set_config(name, '0', false) from pg_settings
		where name in ('statement_timeout', 'transaction_timeout', 'lock_timeout') and pg_backend_pid() = $1::bigint`

	// What gives the role the rights that it lacks: to make tables, and to find the operators
	// of an extension that is there.
	lackingSQL = `
		select coalesce(string_agg(format('grant %s on schema %I to %I', privilege, nspname, current_user), '; '), '')
		from (
			select oid, nspname, 'create' as privilege from pg_namespace where nspname = current_schema()
			union all
			select pg_namespace.oid, nspname, 'usage' from pg_namespace join pg_extension on extnamespace = pg_namespace.oid
			where extname = 'pg_trgm'
		) as needed
		where not has_schema_privilege(oid, privilege)`

	// What is left of an index whose making was interrupted. $1 name
	invalidSQL = `select exists (select from pg_index where indexrelid = to_regclass($1) and not indisvalid)`

	// The operators of an index of trigrams, by their whole name. $1 name
	trigramOps    = `gin_trgm_ops`
	trigramOpsSQL = `
		select format('%I.%I', nspname, $1::text)
		from pg_extension join pg_namespace on pg_namespace.oid = extnamespace where extname = 'pg_trgm'`
)

// indexes are those that versions after the first have added. They are made when
// everything else is there, without a lock that writes wait for.
var indexes = []struct{ name, createSQL string }{
	{"users_external_id_key", `create unique index concurrently if not exists users_external_id_key
		on users (external_id) where external_id is not null`},
	{"users_disabled", `create index concurrently if not exists users_disabled on users (created_at, id) where disabled`},
	{"users_attributes", `create index concurrently if not exists users_attributes
		on users using gin (attributes jsonb_path_ops) where attributes <> '{}'`},
	{"users_name", `create index concurrently if not exists users_name on users using gin (folded_name ` + trigramOps + `)`},
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// beginner is a pool or a connection.
type beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
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
	if err := checkRights(ctx, pool); err != nil {
		return before, fmt.Errorf("migrate: %w", err)
	}
	if err := migrateInTurn(ctx, pool); err != nil {
		return before, fmt.Errorf("migrate: %w", translate(ctx, err))
	}
	return before, nil
}

func migrateInTurn(ctx context.Context, pool *pgxpool.Pool) error {
	turn, err := takeTurn(ctx, pool)
	if err != nil {
		return err
	}
	defer turn.Rollback(ctx)
	if err := step(ctx, pool, applyMissing); err != nil {
		return err
	}
	if err := pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return prepare(ctx, conn) }); err != nil {
		return err
	}
	return step(ctx, pool, record)
}

// takeTurn returns a transaction that has the lock and no snapshot, which an index that is
// made concurrently would wait for. In the extended protocol it would have one: that of
// its last statement.
func takeTurn(ctx context.Context, pool *pgxpool.Pool) (pgx.Tx, error) {
	for {
		tx, err := pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: beginTurnSQL})
		if err != nil {
			return nil, err
		}
		var taken bool
		if err = tx.QueryRow(ctx, takeTurnSQL, pgx.QueryExecModeSimpleProtocol).Scan(&taken); err == nil && taken {
			return tx, nil
		}
		_ = tx.Rollback(ctx)
		if err != nil {
			return nil, err
		}
		if !pause(ctx, turnPause) {
			return nil, ctx.Err()
		}
	}
}

// step runs a transaction of a migration until it has got its locks.
func step(ctx context.Context, on beginner, f func(context.Context, pgx.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := pgx.BeginTxFunc(ctx, on, pgx.TxOptions{BeginQuery: beginStepSQL}, func(tx pgx.Tx) error { return f(ctx, tx) })
		switch {
		case !lockTimeout(err):
			return err
		case attempt == stepAttempts:
			return store.Unavailable(lockTooLong, err)
		case !pause(ctx, stepPause):
			return ctx.Err()
		}
	}
}

// applyMissing applies the migrations that are missing.
func applyMissing(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, createRecordSQL); err != nil {
		return err
	}
	found, _, err := readSchema(ctx, tx)
	if err != nil {
		return err
	}
	if found.Current > found.Wanted {
		return found.Check()
	}
	return applySince(ctx, tx, found.Current)
}

// prepare does what takes the longer the more users there are, and hinders nobody.
func prepare(ctx context.Context, conn *pgxpool.Conn) error {
	if _, err := conn.Exec(ctx, withoutLimitsSQL, int64(conn.Conn().PgConn().PID())); err != nil {
		return err
	}
	if err := refold(ctx, conn); err != nil {
		return err
	}
	return createIndexes(ctx, conn)
}

func createIndexes(ctx context.Context, conn *pgxpool.Conn) error {
	var operators string // Whoever made the extension chose its schema.
	if err := conn.QueryRow(ctx, trigramOpsSQL, trigramOps).Scan(&operators); err != nil {
		return fmt.Errorf("find pg_trgm: %w", err)
	}
	for _, index := range indexes {
		err := step(ctx, conn, func(ctx context.Context, tx pgx.Tx) error { return dropInvalid(ctx, tx, index.name) })
		if err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, strings.ReplaceAll(index.createSQL, trigramOps, operators)); err != nil {
			return fmt.Errorf("%s: %w", index.name, err)
		}
	}
	return nil
}

func dropInvalid(ctx context.Context, tx pgx.Tx, index string) error {
	var invalid bool
	if err := tx.QueryRow(ctx, invalidSQL, index).Scan(&invalid); err != nil || !invalid {
		return err
	}
	_, err := tx.Exec(ctx, `drop index `+index)
	return err
}

// record makes the version that is wanted the current one, if it is.
func record(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, recordSQL, schemaVersion); err != nil {
		return err
	}
	found, _, err := readSchema(ctx, tx)
	if err != nil {
		return err
	}
	return found.Check()
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
			return fmt.Errorf("%s: %w", name, explained(string(script), err))
		}
	}
	return nil
}

// explained says what to do about an extension that cannot be had, whose error is
// otherwise taken for one of userd's tables. PostgreSQL may tell it in any language.
func explained(script string, err error) error {
	refused := new(pgconn.PgError)
	if !errors.As(err, &refused) || !strings.Contains(script, "create extension") || !slices.Contains(withoutExtension, refused.Code) {
		return err
	}
	return fmt.Errorf("searches need the extension pg_trgm, which is part of PostgreSQL's contrib modules: "+
		"install them, or let an administrator run \"create extension pg_trgm\" in this database (%s)", refused.Message)
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
	switch {
	case recorded:
		err = checkParts(schema.Current, parts)
	case len(parts) > 0:
		schema.Current, err = versionOf(parts)
	}
	return schema, recorded, err
}

// checkParts checks that a schema with these parts has all that its version should have.
func checkParts(version int64, parts []string) error {
	if version > schemaVersion { // Its parts are others.
		return nil
	}
	missing := lacking(parts, slices.Concat(schemaParts[:version]...))
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the schema should be at version %d, but lacks %s: restore it from a backup", version, strings.Join(missing, ", "))
}

// versionOf returns the version of a schema with these parts: the newest that has all of
// its own.
func versionOf(parts []string) (version int64, err error) {
	for _, added := range schemaParts {
		missing := lacking(parts, added)
		if len(missing) > 0 && version == 0 {
			return 0, fmt.Errorf("the database has tables of another program with names that userd needs (%s and others are missing): "+
				"use another database, or a schema of userd's own (search_path)", missing[0])
		}
		if len(missing) > 0 {
			break
		}
		version++
	}
	return version, nil
}

// lacking returns those of wanted that are not among parts.
func lacking(parts, wanted []string) []string {
	return slices.DeleteFunc(slices.Clone(wanted), func(part string) bool { return slices.Contains(parts, part) })
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

// checkRights refuses a role that cannot make what migrations make.
func checkRights(ctx context.Context, from querier) error {
	var lacking string
	if err := from.QueryRow(ctx, lackingSQL).Scan(&lacking); err != nil {
		return fmt.Errorf("read rights: %w", translate(ctx, err))
	}
	if lacking == "" {
		return nil
	}
	return refusal("the role lacks rights: let an administrator run `" + lacking + "` in this database")
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
func adopt(ctx context.Context, pool *pgxpool.Pool, logger *slog.Logger) error {
	had := false // It is no new one.
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
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
		if err := tx.QueryRow(ctx, `select exists (select from users) or exists (select from changes)`).Scan(&had); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `truncate changes`)
		return err
	})
	if err == nil && had {
		logger.Warn("the database was restored, moved or replaced: caches and watchers start anew")
	}
	return err
}
