package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/example/userd/store"
)

// The columns of a user in the order of scanUser, and the same with the table's
// name, for statements that join it.
const (
	userColumns = `id, email, display_name, roles, created_at, updated_at, last_login, version,
		disabled, external_id, attributes`
	usersColumns = `users.id, users.email, users.display_name, users.roles, users.created_at, users.updated_at, users.last_login, users.version,
		users.disabled, users.external_id, users.attributes`
)

// Statements that write are one round trip each: they lock the row, decide, write
// row and change log, and say which outcome it was. Under READ COMMITTED a row
// that is locked first is read as the last transaction left it, so a decision
// rests on the newest version; a plain read in the same statement does not see it.
const (
	// $1 id, $2 email, $3 email folded, $4 name, $5 name folded, $6 roles, $7 disabled,
	// $8 external id or null, $9 attributes, $10 time of creation or null, $11 last login or
	// null, $12 now
	createSQL = `
		with created as (
			insert into users (id, email, display_name, folded_name, roles, disabled, external_id, attributes,
				created_at, updated_at, last_login, version)
			select $1, $2, $4, $5, $6, $7, $8, $9, coalesce($10, $12::timestamptz), $12, $11, 1
			where not exists (select from deleted_users where id = $1)
			on conflict do nothing
			returning ` + userColumns + `
		), logged as (
			insert into changes (user_id, version, kind, at)
			select id, version, 'upserted', updated_at from created
		)
		select 'created' as outcome, ` + userColumns + ` from created
		union all
		select case when lower(email) = $3 then 'same' else 'id taken' end, ` + userColumns + ` from users where id = $1
		union all
		select 'id taken', id, '', '', '{}', deleted_at, deleted_at, null, version, false, null, '{}' from deleted_users where id = $1
		union all
		select 'email taken', ` + userColumns + ` from users where lower(email) = $3 and id <> $1
		union all
		select 'external id taken', ` + userColumns + ` from users where external_id = $8 and id <> $1`

	// $1 id, $2 expected version or 0, $3 name or null, $4 name folded, $5 disabled or
	// null, $6 roles to add, $7 roles to remove, $8 most roles, $9 now
	updateSQL = `
		with locked as (
			select ` + userColumns + ` from users where id = $1 for update
		), wanted as (
			select id, coalesce($3, display_name) as new_name, coalesce($5, disabled) as new_disabled, array(
				(select unnest(roles) except select unnest($7::text[])) union select unnest($6::text[]) order by 1
			) as new_roles
			from locked
		), decided as (
			select locked.*, new_name, new_disabled, new_roles, case
				when $2::bigint not in (0, version) then 'version mismatch'
				when cardinality(new_roles) > $8 then 'too many roles'
				when (new_name, new_disabled, new_roles) = (display_name, disabled, roles) then 'same'
				else 'changed' end as outcome
			from locked join wanted using (id)
		), changed as (
			update users set display_name = new_name, folded_name = coalesce($4, folded_name), disabled = new_disabled,
				roles = new_roles, updated_at = $9, version = users.version + 1
			from decided where users.id = decided.id and outcome = 'changed'
			returning ` + usersColumns + `
		), logged as (
			insert into changes (user_id, version, kind, at)
			select id, version, 'upserted', updated_at from changed
		)
		select 'changed', ` + userColumns + ` from changed
		union all
		select outcome, ` + userColumns + ` from decided where outcome <> 'changed'`

	// $1 id, $2 expected version or 0, $3 now
	deleteSQL = `
		with decided as (
			select id, version, $2::bigint in (0, version) as matches from users where id = $1 for update
		), gone as (
			delete from users using decided where users.id = decided.id and matches
			returning users.id, users.version + 1 as version
		), kept as (
			insert into deleted_users (id, version, deleted_at) select id, version, $3 from gone
		), logged as (
			insert into changes (user_id, version, kind, at) select id, version, 'deleted', $3 from gone
		)
		select case when matches then version + 1 else 0 end from decided`

	// User.LoginDue, with the database's clock.
	loginDue = `(
		last_login is null or $2 > last_login and $2 - last_login >= $3
		or last_login > now() and $2 < last_login and last_login - $2 >= $3
	)`

	// $1 id, $2 time of the login, $3 resolution, $4 now
	loginSQL = `
		with current as (
			select *, ` + loginDue + ` as due from users where id = $1
		), locked as (
			select id from users
			where id = $1 and (select due and not disabled from current) and ` + loginDue + ` and not disabled
			for update
		), changed as (
			update users set last_login = $2, updated_at = $4, version = version + 1
			from locked where users.id = locked.id
			returning ` + usersColumns + `
		), logged as (
			insert into changes (user_id, version, kind, at)
			select id, version, 'upserted', updated_at from changed
		)
		select 'changed', ` + userColumns + ` from changed
		union all
		select case when disabled then 'disabled' when due then 'raced' else 'same' end, ` + userColumns + ` from current
		where not exists (select from changed)`

	getSQL             = `select ` + userColumns + ` from users where id = $1`
	getByEmailSQL      = `select ` + userColumns + ` from users where lower(email) = $1`
	getByExternalIDSQL = `select ` + userColumns + ` from users where external_id = $1`
)

// outcomes maps what a statement says became of a write to its error.
var outcomes = map[string]error{
	"created":           nil,
	"changed":           nil,
	"same":              nil,
	"raced":             errRaced,
	"id taken":          store.ErrIDTaken,
	"email taken":       store.ErrEmailTaken,
	"external id taken": store.ErrExternalIDTaken,
	"version mismatch":  store.ErrVersionMismatch,
	"too many roles":    store.ErrTooManyRoles,
	"disabled":          store.ErrUserDisabled,
}

// errRaced: another transaction changed what the statement saw between its
// snapshot and its lock. Nothing was written; the next attempt sees it.
var errRaced = errors.New("raced with another transaction")

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, user store.NewUser) (store.Written, error) {
	created, err := s.create(ctx, user)
	if err != nil {
		return store.Written{}, fmt.Errorf("create user %s: %w", user.ID, err)
	}
	return created, nil
}

func (s *Store) create(ctx context.Context, user store.NewUser) (store.Written, error) {
	attributes, err := store.EncodeAttributes(user.Attributes)
	if err != nil {
		return store.Written{}, err
	}
	return s.writeUser(ctx, errRaced, createSQL,
		user.ID, user.Email, store.FoldEmail(user.Email), user.DisplayName, store.FoldName(user.DisplayName),
		notNil(store.SortedRoles(user.Roles)), user.Disabled, textOrNull(user.ExternalID), attributes,
		timeOrNull(user.CreatedAt), timeOrNull(user.LastLogin), s.tick())
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, id string) (store.User, error) {
	user, err := s.readUser(ctx, getSQL, id)
	if err != nil {
		return store.User{}, fmt.Errorf("get user %s: %w", id, err)
	}
	return user, nil
}

// GetByEmail implements store.Store.
func (s *Store) GetByEmail(ctx context.Context, email string) (store.User, error) {
	user, err := s.readUser(ctx, getByEmailSQL, store.FoldEmail(email))
	if err != nil {
		return store.User{}, fmt.Errorf("get user by email: %w", err)
	}
	return user, nil
}

// GetByExternalID implements store.Store.
func (s *Store) GetByExternalID(ctx context.Context, externalID string) (store.User, error) {
	user, err := s.readUser(ctx, getByExternalIDSQL, textOrNull(externalID))
	if err != nil {
		return store.User{}, fmt.Errorf("get user by external id: %w", err)
	}
	return user, nil
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, update store.Update) (store.Written, error) {
	user, err := s.update(ctx, update)
	if err != nil {
		return store.Written{}, fmt.Errorf("update user %s: %w", update.ID, err)
	}
	return user, nil
}

// update has one statement for what changes often. The rest concerns other users, or is
// not worth a second form of User.Apply.
func (s *Store) update(ctx context.Context, update store.Update) (store.Written, error) {
	if update.Email != nil || update.ExternalID != nil || len(update.SetAttributes)+len(update.RemoveAttributes) > 0 {
		updated, err := s.updateMany(ctx, []store.Update{update})
		if err != nil {
			return store.Written{}, err
		}
		return updated[0].Written, updated[0].Err
	}
	var folded *string
	if update.DisplayName != nil {
		folded = new(store.FoldName(*update.DisplayName))
	}
	return s.writeUser(ctx, store.ErrNotFound, updateSQL, update.ID, update.ExpectedVersion, update.DisplayName, folded,
		update.Disabled, notNil(update.AddRoles), notNil(update.RemoveRoles), store.MaxRoles, s.tick())
}

// RecordLogin implements store.Store.
func (s *Store) RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (store.Written, error) {
	user, err := s.writeUser(ctx, store.ErrNotFound, loginSQL, id, at.UTC().Truncate(time.Microsecond), resolution, s.tick())
	if err != nil {
		return store.Written{}, fmt.Errorf("record login of user %s: %w", id, err)
	}
	return user, nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, id string, expectedVersion int64) (int64, error) {
	version, err := write(ctx, s, func(ctx context.Context, on *session) (version int64, err error) {
		err = on.QueryRow(ctx, deleteSQL, id, expectedVersion, s.tick()).Scan(&version)
		if version != 0 {
			s.wrote(ctx)
		}
		return version, err
	})
	if err == nil && version == 0 {
		err = store.ErrVersionMismatch
	}
	if err != nil {
		return 0, fmt.Errorf("delete user %s: %w", id, err)
	}
	return version, nil
}

// writeUser runs a statement that writes one user and returns the user of its
// first outcome, or the error none when there is no outcome. A statement that
// raced with another transaction runs again.
func (s *Store) writeUser(ctx context.Context, none error, sql string, args ...any) (store.Written, error) {
	for {
		outcome, err := write(ctx, s, func(ctx context.Context, on *session) (outcome, error) {
			rows, _ := on.Query(ctx, sql, args...)
			found, err := pgx.CollectRows(rows, scanOutcome)
			if err != nil || len(found) == 0 {
				return outcome{err: none}, err
			}
			if found[0].Changed {
				s.wrote(ctx)
			}
			return found[0], nil
		})
		if err == nil {
			err = outcome.err
		}
		if !errors.Is(err, errRaced) {
			return outcome.Written, err
		}
	}
}

func (s *Store) readUser(ctx context.Context, sql string, args ...any) (store.User, error) {
	return read(ctx, s, func(ctx context.Context, on *session) (store.User, error) {
		return scanUser(on.QueryRow(ctx, sql, args...))
	})
}

// outcome is a row of a statement that writes a user.
type outcome struct {
	store.Written
	err error
}

func scanOutcome(row pgx.CollectableRow) (o outcome, err error) {
	var name string
	o.User, err = scanUser(row, &name)
	o.err, o.Changed = outcomes[name], name == "created" || name == "changed"
	return o, err
}

// scanUser scans a row of userColumns, after columns for before.
func scanUser(row pgx.Row, before ...any) (store.User, error) {
	var user store.User
	var id [16]byte
	var createdAt, updatedAt, lastLogin pgtype.Timestamptz
	err := row.Scan(append(before, &id, &user.Email, &user.DisplayName, (*roles)(&user.Roles),
		&createdAt, &updatedAt, &lastLogin, &user.Version,
		&user.Disabled, (*externalID)(&user.ExternalID), (*attributes)(&user.Attributes))...)
	if err != nil {
		return store.User{}, err
	}
	user.ID = uuid.UUID(id).String() // pgx would format it with fmt.
	user.CreatedAt, user.UpdatedAt = timeOf(createdAt), timeOf(updatedAt)
	if lastLogin.Valid {
		user.LastLogin = timeOf(lastLogin)
	}
	return user, nil
}

// The infinite times of PostgreSQL, which no user has, in the form of those that are
// beyond the years of a user.
var (
	infinity         = time.UnixMicro(math.MaxInt64).UTC()
	negativeInfinity = time.UnixMicro(math.MinInt64).UTC()
)

func timeOf(t pgtype.Timestamptz) time.Time {
	switch t.InfinityModifier {
	case pgtype.Infinity:
		return infinity
	case pgtype.NegativeInfinity:
		return negativeInfinity
	default:
		return t.Time.UTC()
	}
}

// timestamp is the opposite of timeOf.
func timestamp(t time.Time) pgtype.Timestamptz {
	switch t {
	case infinity:
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	case negativeInfinity:
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	default:
		return pgtype.Timestamptz{Time: t, Valid: true}
	}
}

// timeOrNull returns t in the form of a column that is null for no time.
func timeOrNull(t time.Time) pgtype.Timestamptz {
	return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()}
}

// textOrNull returns text in the form of a column that is null for none.
func textOrNull(text string) pgtype.Text { return pgtype.Text{String: text, Valid: text != ""} }

// externalID scans null as none.
type externalID string

// ScanText implements pgtype.TextScanner.
func (e *externalID) ScanText(text pgtype.Text) error {
	*e = externalID(text.String)
	return nil
}

// attributes scans the attributes of a user. Whatever a jsonb can be is taken.
type attributes []store.Attribute

// ScanBytes implements pgtype.BytesScanner.
func (a *attributes) ScanBytes(text []byte) error {
	*a = store.DecodeAttributes(string(text))
	return nil
}

// roles scans the roles of a user. Whatever a text[] can be is taken: other programs may
// write null, too, for which User.Check has the words.
type roles []string

// SetDimensions implements pgtype.ArraySetter.
func (r *roles) SetDimensions(dimensions []pgtype.ArrayDimension) error {
	if *r = nil; len(dimensions) == 0 {
		return nil
	}
	count := 1
	for _, dimension := range dimensions {
		count *= int(dimension.Length)
	}
	*r = make(roles, count)
	return nil
}

// ScanIndex implements pgtype.ArraySetter.
func (r *roles) ScanIndex(i int) any { return (*role)(&(*r)[i]) }

// ScanIndexType implements pgtype.ArraySetter.
func (r *roles) ScanIndexType() any { return new(role) }

// role scans null as the role without a name, which no user has.
type role string

// ScanText implements pgtype.TextScanner.
func (r *role) ScanText(text pgtype.Text) error {
	*r = role(text.String)
	return nil
}

// notNil returns roles in the form of a column that is not null.
func notNil(roles []string) []string {
	if roles == nil {
		return []string{}
	}
	return roles
}
