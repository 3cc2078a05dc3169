package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
)

const getManySQL = `select ` + userColumns + ` from unnest($1::uuid[]) with ordinality as wanted (id, place)
		join users using (id) order by place`

// UpdateMany implements store.Store.
func (s *Store) UpdateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	results, err := s.updateMany(ctx, updates)
	if err != nil {
		return nil, fmt.Errorf("update %d users: %w", len(updates), err)
	}
	return results, nil
}

func (s *Store) updateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	return writeTx(ctx, s, func(ctx context.Context, on *session) (results []store.Updated, err error) {
		err = on.transact(ctx, func(ctx context.Context, tx pgx.Tx) error {
			results, err = updateInto(ctx, tx, updates, s.tick())
			return err
		})
		if err == nil && slices.ContainsFunc(results, func(u store.Updated) bool { return u.Changed }) {
			s.wrote(ctx)
		}
		return results, raced(err)
	})
}

func updateInto(ctx context.Context, tx pgx.Tx, updates []store.Update, at time.Time) ([]store.Updated, error) {
	ids := make([]string, len(updates))
	for i, update := range updates {
		ids[i] = update.ID
	}
	locked, err := lockUsers(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	e := newEdits(locked, at)
	if err := e.findOwners(ctx, tx, updates); err != nil {
		return nil, err
	}
	results := make([]store.Updated, len(updates))
	for i, update := range updates {
		results[i] = e.apply(update)
	}
	return results, e.write(ctx, tx)
}

// GetMany implements store.Store.
func (s *Store) GetMany(ctx context.Context, ids []string) ([]store.User, error) {
	users, err := s.readUsers(ctx, len(ids), getManySQL, ids)
	if err != nil {
		return nil, fmt.Errorf("get %d users: %w", len(ids), err)
	}
	return users, nil
}

// maxListCapacity is the most users that a list has room for before there are any.
const maxListCapacity = 512

// readUsers returns the users of a statement, of whom there are likely to be n.
func (s *Store) readUsers(ctx context.Context, n int, sql string, args ...any) ([]store.User, error) {
	return read(ctx, s, func(ctx context.Context, on *session) ([]store.User, error) {
		return queryUsers(ctx, on, n, sql, args...)
	})
}

func queryUsers(ctx context.Context, on querier, n int, sql string, args ...any) ([]store.User, error) {
	rows, _ := on.Query(ctx, sql, args...)
	users := make([]store.User, 0, min(n, maxListCapacity))
	return pgx.AppendRows(users, rows, func(row pgx.CollectableRow) (store.User, error) { return scanUser(row) })
}
