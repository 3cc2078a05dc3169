package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
)

// $1 ids
const deletedSQL = `select id from deleted_users where id = any($1::uuid[])`

// Import implements store.Store.
func (s *Store) Import(ctx context.Context, users []store.NewUser) ([]store.Created, error) {
	results, err := writeTx(ctx, s, func(ctx context.Context, on *session) ([]store.Created, error) {
		results, err := s.importRows(ctx, on, &rows{users: users, at: s.ticks(len(users))})
		if err == nil && slices.ContainsFunc(results, func(c store.Created) bool { return c.Changed }) {
			s.wrote(ctx)
		}
		return results, err
	})
	if err != nil {
		return nil, fmt.Errorf("import %d users: %w", len(users), err)
	}
	return results, nil
}

// importRows copies the rows straight into the tables, which is the fastest way and works
// when none of them is taken. Else it looks who is there first. After an import that met
// taken rows the next one is likely to, and is not copied in vain.
func (s *Store) importRows(ctx context.Context, on *session, rows *rows) ([]store.Created, error) {
	if !s.importsCollide.Load() {
		err := on.transact(ctx, rows.copyAll)
		if err == nil {
			return rows.allStored(), nil
		}
		if !duplicate(err) {
			return nil, err
		}
	}
	for {
		err := raced(on.transact(ctx, rows.merge))
		if !errors.Is(err, errRaced) { // Another one has taken what was free.
			s.importsCollide.Store(rows.collide)
			return rows.results, err
		}
	}
}

// rows are the rows of an import.
type rows struct {
	users   []store.NewUser
	at      time.Time // Of the first, a microsecond more for each after it.
	results []store.Created
	collide bool // Somebody was there.
}

// timeOf is when a row creates its user.
func (r *rows) timeOf(i int) time.Time { return r.at.Add(time.Duration(i) * time.Microsecond) }

// copyAll stores all rows, or fails when one of them is taken, by another one too. The
// log comes last: who reads it meanwhile has to pass over rows that are not committed.
func (r *rows) copyAll(ctx context.Context, tx pgx.Tx) error {
	users := make([]store.User, len(r.users))
	for i := range r.users {
		users[i] = r.users[i].At(r.timeOf(i))
	}
	log := slices.Clone(users) // In the order of the rows.
	sortByEmail(users)
	if err := copyUsers(ctx, tx, users); err != nil {
		return err
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"changes"}, []string{"user_id", "version", "kind", "at"},
		pgx.CopyFromSlice(len(log), func(i int) ([]any, error) {
			id, err := uuid.Parse(log[i].ID)
			return []any{[16]byte(id), 1, "upserted", log[i].UpdatedAt}, err
		}))
	return err
}

func (r *rows) allStored() []store.Created {
	results := make([]store.Created, len(r.users))
	for i, user := range r.users {
		results[i] = store.Created{ID: user.ID, Version: 1, Changed: true}
	}
	return results
}

// merge decides on the rows as if they came one after the other. It looks who is there,
// and writes in the end what has changed, once those users are locked and as they were.
func (r *rows) merge(ctx context.Context, tx pgx.Tx) error {
	known, deleted, err := r.look(ctx, tx)
	if err != nil {
		return err
	}
	r.collide = len(known)+len(deleted) > 0
	for locked := make(map[string]bool); ; {
		e := newEdits(known, r.timeOf(len(r.users)-1))
		r.decide(e, deleted)
		ids := slices.DeleteFunc(idsOf(e.changed()), func(id string) bool { return locked[id] })
		if len(ids) == 0 {
			return e.write(ctx, tx)
		}
		if err := relock(ctx, tx, ids, known); err != nil {
			return err
		}
		for _, id := range ids {
			locked[id] = true
		}
	}
}

// look returns the users who have an id, email or external id of the rows, by their ids,
// and the ids that deleted ones had.
func (r *rows) look(ctx context.Context, tx pgx.Tx) (known map[string]store.User, deleted map[string]bool, err error) {
	var ids, emails, externals []string
	for i := range r.users {
		row := &r.users[i]
		ids, emails = append(ids, row.ID), append(emails, store.FoldEmail(row.Email))
		if row.ExternalID != "" {
			externals = append(externals, row.ExternalID)
		}
	}
	known, err = findOwners(ctx, tx, ids, emails, externals)
	if err != nil {
		return nil, nil, err
	}
	rows, _ := tx.Query(ctx, deletedSQL, ids)
	deleted = make(map[string]bool)
	var id [16]byte
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error {
		deleted[uuid.UUID(id).String()] = true
		return nil
	})
	return known, deleted, err
}

// relock locks users and has known say how they are now.
func relock(ctx context.Context, tx pgx.Tx, ids []string, known map[string]store.User) error {
	locked, err := lockUsers(ctx, tx, ids)
	for _, id := range ids {
		delete(known, id)
	}
	maps.Copy(known, locked)
	return err
}

// decide has edits.merge say of each row whether it creates a user, is about one who is there,
// or conflicts with one. An id that a deleted user had is a conflict.
func (r *rows) decide(e *edits, deleted map[string]bool) {
	r.results = make([]store.Created, len(r.users))
	for i := range r.users {
		if row := &r.users[i]; deleted[row.ID] {
			r.results[i].Err = store.ErrIDTaken
		} else {
			r.results[i] = e.merge(row, r.timeOf(i))
		}
	}
}
