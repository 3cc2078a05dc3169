package sqlite

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
)

var _ store.Copyable = (*Store)(nil)

const (
	contentsSQL = `select (select count(*) from users), (select count(*) from deleted_users),
			last.created_at, ifnull(last.id, ''), ifnull((select max(id) from deleted_users), '')
		from meta left join (
			select created_at, id from users order by created_at desc, id desc limit 1
		) as last`

	listDeletedSQL = `select id, version, at from deleted_users where id > ?1 order by id limit ?2 + 0` // See changesSQL.

	// Nothing when the store is not of the copy of ?1.
	copyOfSQL = `update meta set copy_of = ?1
		where copy_of = ?1 or copy_of = ''
			and not exists (select 1 from users) and not exists (select 1 from deleted_users)`

	unfinishedSQL = `select count(*) from meta where copy_of <> ''`

	loadSQL = `insert into users (` + userColumns + `) values (` + userPlaces + `)`
)

// Contents implements store.Copyable.
func (s *Store) Contents(ctx context.Context) (store.Contents, error) {
	var c store.Contents
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, contentsSQL, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
			c = store.Contents{
				Users: stmt.ColumnInt64(0), Deleted: stmt.ColumnInt64(1),
				Last:        store.Position{ID: stmt.ColumnText(3)},
				LastDeleted: stmt.ColumnText(4),
			}
			if c.Users > 0 {
				c.Last.CreatedAt = timeOf(stmt.ColumnInt64(2))
			}
			return nil
		}})
	})
	if err != nil {
		return store.Contents{}, fmt.Errorf("read contents: %w", err)
	}
	return c, nil
}

// ListDeleted implements store.Copyable.
func (s *Store) ListDeleted(ctx context.Context, after string, limit int) ([]store.DeletedUser, error) {
	var deleted []store.DeletedUser
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, listDeletedSQL, &sqlitex.ExecOptions{
			Args: []any{after, limit},
			ResultFunc: func(stmt *sqlite.Stmt) error {
				deleted = append(deleted, store.DeletedUser{
					ID: stmt.ColumnText(0), Version: stmt.ColumnInt64(1), DeletedAt: timeOf(stmt.ColumnInt64(2)),
				})
				return nil
			},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list deleted users: %w", err)
	}
	return deleted, nil
}

// Load implements store.Copyable.
func (s *Store) Load(ctx context.Context, load store.Load) error {
	err := s.writeMany(ctx, len(load.Users), func(conn *sqlite.Conn) error { return s.load(conn, load) })
	if err != nil {
		return fmt.Errorf("load %d users: %w", len(load.Users), err)
	}
	return nil
}

// Unfinished implements store.Copyable.
func (s *Store) Unfinished(ctx context.Context) (unfinished bool, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) error {
		n, err := scalar(conn, unfinishedSQL)
		unfinished = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for a copy: %w", err)
	}
	return unfinished, nil
}

func (s *Store) load(conn *sqlite.Conn, load store.Load) error {
	if err := exec(conn, copyOfSQL, load.CopyOf); err != nil {
		return err
	}
	if conn.Changes() == 0 {
		return store.ErrNotEmpty
	}
	for _, user := range load.Deleted {
		if err := exec(conn, burySQL, user.ID, user.Version, user.DeletedAt.UnixMicro()); err != nil {
			return err
		}
	}
	for _, user := range load.Users {
		if err := s.loadUser(conn, user); err != nil {
			return err
		}
	}
	if load.Last {
		return finishCopy(conn)
	}
	return nil
}

// finishCopy ends a copy. Its users are not in the log, which the index of names follows.
func finishCopy(conn *sqlite.Conn) error {
	if err := exec(conn, unfoldedSQL); err != nil {
		return err
	}
	return exec(conn, `update meta set copy_of = ''`)
}

func (s *Store) loadUser(conn *sqlite.Conn, user store.User) error {
	values, err := userValues(user)
	if err != nil {
		return err
	}
	if err := exec(conn, loadSQL, values...); err != nil {
		return err
	}
	if !user.CreatedAt.After(user.UpdatedAt) { // See lastTickSQL.
		s.last = max(s.last, user.CreatedAt.UnixMicro())
	}
	return replacePostings(conn, store.User{ID: user.ID, CreatedAt: user.CreatedAt}, user)
}
