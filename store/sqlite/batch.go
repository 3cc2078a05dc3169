package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
)

// Import implements store.Store.
func (s *Store) Import(ctx context.Context, users []store.NewUser) ([]store.Created, error) {
	outcomes := make([]store.Created, len(users))
	err := s.writeMany(ctx, len(users), edited(func(e *edits) error {
		created, err := s.create(e, users)
		for i, outcome := range created {
			outcomes[i] = store.Created{
				ID: outcome.ID, Err: outcome.err, Version: outcome.Version, Changed: outcome.Changed, Existing: outcome.existing,
			}
		}
		return err
	}))
	if err != nil {
		return nil, fmt.Errorf("import %d users: %w", len(users), err)
	}
	return outcomes, nil
}

// UpdateMany implements store.Store.
func (s *Store) UpdateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	outcomes := make([]store.Updated, len(updates))
	err := s.writeMany(ctx, len(updates), edited(func(e *edits) error {
		for i, update := range updates {
			user, err := s.update(e, update)
			if err != nil && !refused(err) {
				return err
			}
			outcomes[i] = store.Updated{Written: user, Err: err}
		}
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("update %d users: %w", len(updates), err)
	}
	return outcomes, nil
}

// refused reports whether err is about one row, which was then left as it was.
func refused(err error) bool {
	if invalid := new(store.InvalidUserError); errors.As(err, &invalid) {
		return true
	}
	return slices.ContainsFunc([]error{
		store.ErrNotFound, store.ErrEmailTaken, store.ErrIDTaken, store.ErrExternalIDTaken, store.ErrVersionMismatch,
		store.ErrTooManyRoles, store.ErrTooManyAttributes, store.ErrUserDisabled,
	}, func(target error) bool { return errors.Is(err, target) })
}

// GetMany implements store.Store.
func (s *Store) GetMany(ctx context.Context, ids []string) ([]store.User, error) {
	var users []store.User
	err := s.snapshot(ctx, func(conn *sqlite.Conn) error {
		for _, id := range ids {
			user, err := get(conn, getSQL, id)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			users = append(users, user.User)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("get %d users: %w", len(ids), err)
	}
	return users, nil
}

// without returns those of all that are not in some.
func without[T comparable](all, some []T) []T {
	var rest []T
	for _, item := range all {
		if !slices.Contains(some, item) {
			rest = append(rest, item)
		}
	}
	return rest
}
