package postgres

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/example/userd/store"
)

var _ store.Copyable = (*Store)(nil)

const (
	contentsSQL = `
		select (select count(*) from users), (select count(*) from deleted_users),
			last.created_at, coalesce(last.id::text, ''),
			coalesce((select id::text from deleted_users order by id desc limit 1), '')
		from meta left join (
			select created_at, id from users order by created_at desc, id desc limit 1
		) last on true`

	listDeletedSQL      = `select id, version, deleted_at from deleted_users where id > $1 order by id limit $2`
	listFirstDeletedSQL = `select id, version, deleted_at from deleted_users order by id limit $1`

	// Locks the store for a part of the copy of $1; none when it is not of that copy.
	copyOfSQL = `
		update meta set copy_of = $1
		where copy_of = $1 or copy_of = ''
			and not exists (select from users) and not exists (select from deleted_users)`

	unfinishedSQL = `select copy_of <> '' from meta`
)

// Contents implements store.Copyable.
func (s *Store) Contents(ctx context.Context) (store.Contents, error) {
	c, err := read(ctx, s, func(ctx context.Context, on *session) (c store.Contents, err error) {
		err = on.transact(ctx, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, withoutLimitSQL); err != nil { // It counts all rows.
				return err
			}
			var last pgtype.Timestamptz
			err := tx.QueryRow(ctx, contentsSQL).Scan(&c.Users, &c.Deleted, &last, &c.Last.ID, &c.LastDeleted)
			if last.Valid {
				c.Last.CreatedAt = timeOf(last)
			}
			return err
		})
		return c, err
	})
	if err != nil {
		return store.Contents{}, fmt.Errorf("read contents: %w", err)
	}
	return c, nil
}

// ListDeleted implements store.Copyable.
func (s *Store) ListDeleted(ctx context.Context, after string, limit int) ([]store.DeletedUser, error) {
	sql, args := listDeletedSQL, []any{after, limit}
	if after == "" {
		sql, args = listFirstDeletedSQL, []any{limit}
	}
	deleted, err := read(ctx, s, func(ctx context.Context, on *session) ([]store.DeletedUser, error) {
		rows, _ := on.Query(ctx, sql, args...)
		return pgx.CollectRows(rows, func(row pgx.CollectableRow) (user store.DeletedUser, err error) {
			err = row.Scan(&user.ID, &user.Version, &user.DeletedAt)
			user.DeletedAt = user.DeletedAt.UTC()
			return user, err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list deleted users: %w", err)
	}
	return deleted, nil
}

// Load implements store.Copyable.
func (s *Store) Load(ctx context.Context, load store.Load) error {
	_, err := write(ctx, s, func(ctx context.Context, on *session) (struct{}, error) {
		return struct{}{}, on.transact(ctx, func(ctx context.Context, tx pgx.Tx) error { return loadInto(ctx, tx, load) })
	})
	if err != nil {
		return fmt.Errorf("load %d users: %w", len(load.Users), err)
	}
	return nil
}

// Unfinished implements store.Copyable.
func (s *Store) Unfinished(ctx context.Context) (bool, error) {
	unfinished, err := read(ctx, s, func(ctx context.Context, on *session) (unfinished bool, err error) {
		err = on.QueryRow(ctx, unfinishedSQL).Scan(&unfinished)
		return unfinished, err
	})
	if err != nil {
		return false, fmt.Errorf("look for a copy: %w", err)
	}
	return unfinished, nil
}

func loadInto(ctx context.Context, tx pgx.Tx, load store.Load) error {
	tag, err := tx.Exec(ctx, copyOfSQL, load.CopyOf)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return store.ErrNotEmpty
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"deleted_users"}, []string{"id", "version", "deleted_at"},
		pgx.CopyFromSlice(len(load.Deleted), func(i int) ([]any, error) {
			user := load.Deleted[i]
			id, err := uuid.Parse(user.ID)
			return []any{[16]byte(id), user.Version, user.DeletedAt}, err
		}))
	if err != nil {
		return err
	}
	err = copyUsers(ctx, tx, load.Users)
	if err == nil && load.Last {
		_, err = tx.Exec(ctx, `update meta set copy_of = ''`)
	}
	return err
}

// copyUsers stores users who are not there yet.
func copyUsers(ctx context.Context, tx pgx.Tx, users []store.User) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"users"}, rowColumns,
		pgx.CopyFromSlice(len(users), func(i int) ([]any, error) { return userRow(users[i]) }))
	return err
}

// rowColumns are the columns of userRow.
var rowColumns = []string{
	"id", "email", "display_name", "folded_name", "roles", "created_at", "updated_at", "last_login", "version",
	"disabled", "external_id", "attributes",
}

// userRow is the row of a user in table users.
func userRow(user store.User) ([]any, error) {
	id, err := uuid.Parse(user.ID)
	if err != nil {
		return nil, err
	}
	attributes, err := store.EncodeAttributes(user.Attributes)
	return []any{
		[16]byte(id), user.Email, user.DisplayName, store.FoldName(user.DisplayName), notNil(user.Roles),
		user.CreatedAt, user.UpdatedAt, timeOrNull(user.LastLogin), user.Version,
		user.Disabled, textOrNull(user.ExternalID), attributes,
	}, err
}
