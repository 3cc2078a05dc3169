package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
)

// Import implements store.Store.
func (s *Store) Import(ctx context.Context, users []store.NewUser) ([]store.Created, error) {
	outcomes := make([]store.Created, len(users))
	err := s.writeMany(ctx, func(conn *sqlite.Conn) error {
		created, err := s.create(conn, users)
		for i, outcome := range created {
			outcomes[i] = store.Created{ID: outcome.user.ID, Err: outcome.err}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("import %d users: %w", len(users), err)
	}
	return outcomes, nil
}

// UpdateMany implements store.Store.
func (s *Store) UpdateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	outcomes := make([]store.Updated, len(updates))
	err := s.writeMany(ctx, func(conn *sqlite.Conn) error {
		for i, update := range updates {
			user, err := s.update(conn, update)
			if err != nil && !refused(err) {
				return err
			}
			outcomes[i] = store.Updated{User: user, Err: err}
		}
		return nil
	})
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
		store.ErrNotFound, store.ErrEmailTaken, store.ErrIDTaken, store.ErrVersionMismatch, store.ErrTooManyRoles,
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
			users = append(users, user)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("get %d users: %w", len(ids), err)
	}
	return users, nil
}

// maxListCapacity is the most users that a list has room for before there are any.
const maxListCapacity = 512

// List implements store.Store.
func (s *Store) List(ctx context.Context, query store.Query) ([]store.User, error) {
	rows := newUserRows(min(query.Limit, maxListCapacity)) // Few lists end sooner.
	statement, args := listSQL(query)
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		return sqlitex.Execute(conn, statement, &sqlitex.ExecOptions{
			Named: args,
			ResultFunc: func(stmt *sqlite.Stmt) error {
				rows.add(stmt)
				return nil
			},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return rows.decode(), nil
}

// listSQL is the statement for a query. A role or the start of an email selects by
// its own index; without them users come in the order of their positions.
func listSQL(query store.Query) (statement string, args map[string]any) {
	args = map[string]any{
		":created_at": query.After.CreatedAt.UnixMicro(), ":id": query.After.ID, ":limit": query.Limit,
	}
	from, position := `users`, `created_at, id`
	var conditions []string
	if query.Role != "" {
		from = `user_roles AS r CROSS JOIN users AS u ON u.id = r.id`
		position = `r.created_at, r.id`
		conditions = append(conditions, `r.role = :role`)
		args[":role"] = query.Role
	}
	if query.EmailPrefix != "" {
		conditions = append(conditions, `email >= :prefix and email < :prefix || char(0x10ffff)`)
		args[":prefix"] = query.EmailPrefix
		if query.Role == "" {
			position = `+created_at, +id` // Else the index by position would be preferred.
		}
	}
	if query.NameContains != "" {
		conditions = append(conditions, `contains_fold(display_name, :name)`)
		args[":name"] = store.FoldName(query.NameContains)
	}
	conditions = append(conditions, `(`+position+`) > (:created_at, :id)`)
	columns := userColumns
	if query.Role != "" {
		columns = `u.` + strings.ReplaceAll(userColumns, `, `, `, u.`)
	}
	return `select ` + columns + ` from ` + from + ` where ` + strings.Join(conditions, ` and `) +
		` order by ` + position + ` limit :limit`, args
}

// without returns those of all that are not in some.
func without(all, some []string) []string {
	var rest []string
	for _, item := range all {
		if !slices.Contains(some, item) {
			rest = append(rest, item)
		}
	}
	return rest
}
