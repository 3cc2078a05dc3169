package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
)

const (
	// Inserts users and returns the ids of those that are not stored. They come
	// sorted by email: two imports of the same emails wait for each other's rows in
	// one order.
	// $1 ids, $2 emails, $3 names, $4 names folded, $5 roles, comma between, $6 times of creation
	importSQL = `
		with rows as (
			select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
				as given (id, email, display_name, folded_name, roles, created_at)
		), created as (
			insert into users (id, email, display_name, folded_name, roles, created_at, updated_at, version)
			select id, email, display_name, folded_name, string_to_array(roles, ','), created_at, created_at, 1
			from rows where not exists (select from deleted_users where deleted_users.id = rows.id)
			on conflict do nothing
			returning id, created_at
		), logged as (
			insert into changes (user_id, version, kind, at) select id, 1, 'upserted', created_at from created
		)
		select case when (select count(*) from created) < cardinality($1) then
			array(select id from rows except select id from created)
		end`

	// Who has these ids or emails. $1 ids, $2 emails folded
	ownersSQL = `
		select id, lower(email), false from users where id = any($1) or lower(email) = any($2)
		union all
		select id, '', true from deleted_users where id = any($1)`

	getManySQL = `select ` + userColumns + ` from unnest($1::uuid[]) with ordinality as wanted (id, place)
		join users using (id) order by place`

	lockManySQL = `select ` + userColumns + ` from users where id = any($1::uuid[]) order by id for update`

	// $1 ids, $2 names, $3 names folded, $4 roles, comma between, $5 versions, $6 now
	updateManySQL = `
		update users set display_name = given.name, folded_name = given.folded, roles = string_to_array(given.roles, ','),
			version = given.version, updated_at = $6
		from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[]) as given (id, name, folded, roles, version)
		where users.id = given.id`

	// $1 ids, $2 versions, $3 now
	logManySQL = `
		insert into changes (user_id, version, kind, at)
		select id, version, 'upserted', $3
		from unnest($1::uuid[], $2::bigint[]) with ordinality as given (id, version, place)
		order by place`
)

// Import implements store.Store.
func (s *Store) Import(ctx context.Context, users []store.NewUser) ([]store.Created, error) {
	results, err := writeTx(ctx, s, func(ctx context.Context, on *session) ([]store.Created, error) {
		rows, err := newRows(users, s.ticks(len(users)))
		if err == nil {
			err = s.importRows(ctx, on, rows)
		}
		if err != nil {
			return nil, err
		}
		s.wake.committed()
		return rows.results, nil
	})
	if err != nil {
		return nil, fmt.Errorf("import %d users: %w", len(users), err)
	}
	return results, nil
}

// importRows copies the rows straight into the tables, which is the fastest way and works
// when none of them is taken. Else it decides on each. After an import that met
// taken rows the next one is likely to, and is not copied in vain.
func (s *Store) importRows(ctx context.Context, on *session, rows *rows) error {
	if !s.importsCollide.Load() {
		err := on.transact(ctx, rows.copyAll)
		if err == nil {
			rows.allStored()
		}
		if !duplicate(err) {
			return err
		}
	}
	err := on.transact(ctx, rows.store)
	s.importsCollide.Store(len(rows.owners) > 0)
	return err
}

// rows are the rows of an import while it decides on them.
type rows struct {
	rows    []row
	results []store.Created
	pending []int               // Rows that are not decided, in order.
	emails  map[string][16]byte // Owners of emails that are known to be taken.
	owners  map[[16]byte]string // Their emails; "" for deleted users.
}

type row struct {
	store.NewUser
	key       [16]byte
	email     string // Folded.
	createdAt time.Time
}

func newRows(users []store.NewUser, at time.Time) (*rows, error) {
	r := &rows{
		rows:    make([]row, len(users)),
		results: make([]store.Created, len(users)),
		pending: make([]int, len(users)),
		emails:  make(map[string][16]byte),
		owners:  make(map[[16]byte]string),
	}
	for i, user := range users {
		key, err := uuid.Parse(user.ID)
		if err != nil {
			return nil, err
		}
		r.rows[i] = row{user, key, store.FoldEmail(user.Email), at.Add(time.Duration(i) * time.Microsecond)}
		r.pending[i] = i
	}
	return r, nil
}

// copyAll stores all rows, or fails when one of them is taken, by another one too. The
// log comes last: who reads it meanwhile has to pass over rows that are not committed.
func (r *rows) copyAll(ctx context.Context, tx pgx.Tx) error {
	batch := slices.Clone(r.pending)
	r.sortByEmail(batch)
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"users"},
		[]string{"id", "email", "display_name", "folded_name", "roles", "created_at", "updated_at", "version"},
		pgx.CopyFromSlice(len(batch), func(i int) ([]any, error) {
			row := &r.rows[batch[i]]
			return []any{
				row.key, row.Email, row.DisplayName, store.FoldName(row.DisplayName), notNil(store.SortedRoles(row.Roles)),
				row.createdAt, row.createdAt, 1,
			}, nil
		}))
	if err != nil {
		return err
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"changes"}, []string{"user_id", "version", "kind", "at"},
		pgx.CopyFromSlice(len(r.rows), func(i int) ([]any, error) {
			row := &r.rows[i]
			return []any{row.key, 1, "upserted", row.createdAt}, nil
		}))
	return err
}

// store decides on every row as if they came one after the other. Rows that share
// an id or email with an earlier one wait for its fate, so nearly always all rows
// are stored by one statement.
func (r *rows) store(ctx context.Context, tx pgx.Tx) error {
	for len(r.pending) > 0 {
		batch := r.unrelated()
		missing, err := r.insert(ctx, tx, batch)
		if err != nil {
			return err
		}
		if len(missing) == 0 && len(batch) == len(r.pending) {
			r.allStored()
			return nil
		}
		if len(missing) > 0 {
			if err := r.findOwners(ctx, tx, missing); err != nil {
				return err
			}
		}
		for _, i := range batch {
			if !missing[i] {
				r.results[i].ID = r.rows[i].ID
				r.owned(r.rows[i].key, r.rows[i].email)
			}
		}
		r.pending = slices.DeleteFunc(r.pending, func(i int) bool { return r.results[i].ID != "" || r.decide(i) })
	}
	return nil
}

func (r *rows) allStored() {
	for _, i := range r.pending {
		r.results[i].ID = r.rows[i].ID
	}
}

// unrelated returns the pending rows that share no id or email with an earlier one.
func (r *rows) unrelated() []int {
	ids, emails := make(map[[16]byte]bool, len(r.pending)), make(map[string]bool, len(r.pending))
	batch := make([]int, 0, len(r.pending))
	for _, i := range r.pending {
		row := &r.rows[i]
		if !ids[row.key] && !emails[row.email] {
			batch = append(batch, i)
		}
		ids[row.key], emails[row.email] = true, true
	}
	return batch
}

// insert stores the rows of batch that hinder nobody, and returns the others.
func (r *rows) insert(ctx context.Context, tx pgx.Tx, batch []int) (missing map[int]bool, err error) {
	r.sortByEmail(batch)
	var refused [][16]byte
	err = tx.QueryRow(ctx, importSQL, r.columns(batch)...).Scan(&refused)
	if err != nil || len(refused) == 0 {
		return nil, err
	}
	byKey := make(map[[16]byte]int, len(batch))
	for _, i := range batch {
		byKey[r.rows[i].key] = i
	}
	missing = make(map[int]bool, len(refused))
	for _, key := range refused {
		missing[byKey[key]] = true
	}
	return missing, nil
}

// sortByEmail makes two imports of the same emails wait for each other's rows in one
// order.
func (r *rows) sortByEmail(batch []int) {
	slices.SortFunc(batch, func(a, b int) int { return cmp.Compare(r.rows[a].email, r.rows[b].email) })
}

// columns returns the arguments of importSQL for the rows of batch.
func (r *rows) columns(batch []int) []any {
	n := len(batch)
	ids, times := make([][16]byte, n), make([]time.Time, n)
	emails, names, folded, roles := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for place, i := range batch {
		row := &r.rows[i]
		ids[place], times[place] = row.key, row.createdAt
		emails[place], names[place] = row.Email, row.DisplayName
		folded[place], roles[place] = store.FoldName(row.DisplayName), joinRoles(row.Roles)
	}
	return []any{ids, emails, names, folded, roles, times}
}

// findOwners learns who has the ids and emails of rows that were not stored.
func (r *rows) findOwners(ctx context.Context, tx pgx.Tx, missing map[int]bool) error {
	var ids [][16]byte
	var emails []string
	for i := range missing {
		ids, emails = append(ids, r.rows[i].key), append(emails, r.rows[i].email)
	}
	found, err := tx.Query(ctx, ownersSQL, ids, emails)
	if err != nil {
		return err
	}
	var id [16]byte
	var email string
	var deleted bool
	_, err = pgx.ForEachRow(found, []any{&id, &email, &deleted}, func() error {
		r.owned(id, email)
		return nil
	})
	return err
}

func (r *rows) owned(id [16]byte, email string) {
	r.owners[id] = email
	if email != "" {
		r.emails[email] = id
	}
}

// decide settles a row by what is known, and reports whether that was enough.
func (r *rows) decide(i int) bool {
	row := r.rows[i]
	email, idTaken := r.owners[row.key]
	_, emailTaken := r.emails[row.email]
	switch {
	case idTaken && email == row.email:
		r.results[i].ID = row.ID
	case idTaken:
		r.results[i].Err = store.ErrIDTaken
	case emailTaken:
		r.results[i].Err = store.ErrEmailTaken
	default:
		return false
	}
	return true
}

// UpdateMany implements store.Store.
func (s *Store) UpdateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	results, err := writeTx(ctx, s, func(ctx context.Context, on *session) (results []store.Updated, err error) {
		err = on.transact(ctx, func(ctx context.Context, tx pgx.Tx) error {
			results, err = updateMany(ctx, tx, updates, s.tick())
			return err
		})
		if err == nil {
			s.wake.committed()
		}
		return results, err
	})
	if err != nil {
		return nil, fmt.Errorf("update %d users: %w", len(updates), err)
	}
	return results, nil
}

func updateMany(ctx context.Context, tx pgx.Tx, updates []store.Update, at time.Time) ([]store.Updated, error) {
	users, err := lockMany(ctx, tx, updates)
	if err != nil {
		return nil, err
	}
	results := make([]store.Updated, len(updates))
	changed := make(map[string]store.User)
	var ids []string
	var versions []int64
	for i, update := range updates {
		user, found := users[update.ID]
		if !found {
			results[i].Err = store.ErrNotFound
			continue
		}
		next, differs, err := user.Apply(update)
		if err != nil {
			results[i].Err = err
			continue
		}
		if differs {
			next.Version, next.UpdatedAt = user.Version+1, at
			users[next.ID], changed[next.ID] = next, next
			ids, versions = append(ids, next.ID), append(versions, next.Version)
		}
		results[i].User = next
	}
	if len(ids) == 0 {
		return results, nil
	}
	return results, writeMany(ctx, tx, changed, ids, versions, at)
}

// lockMany locks the users that updates change, in the order of their ids, so that
// two calls wait for each other in one order.
func lockMany(ctx context.Context, tx pgx.Tx, updates []store.Update) (map[string]store.User, error) {
	ids := make([]string, len(updates))
	for i, update := range updates {
		ids[i] = update.ID
	}
	rows, err := tx.Query(ctx, lockManySQL, ids)
	if err != nil {
		return nil, err
	}
	locked, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (store.User, error) { return scanUser(row) })
	users := make(map[string]store.User, len(locked))
	for _, user := range locked {
		users[user.ID] = user
	}
	return users, err
}

// writeMany writes users as they are after all updates, and a change for every
// version that they went through.
func writeMany(ctx context.Context, tx pgx.Tx, users map[string]store.User, ids []string, versions []int64, at time.Time) error {
	var keys, names, folded, roles []string
	var last []int64
	for _, user := range users {
		keys, names, last = append(keys, user.ID), append(names, user.DisplayName), append(last, user.Version)
		folded, roles = append(folded, store.FoldName(user.DisplayName)), append(roles, joinRoles(user.Roles))
	}
	batch := &pgx.Batch{}
	batch.Queue(updateManySQL, keys, names, folded, roles, last, at)
	batch.Queue(logManySQL, ids, versions, at)
	return tx.SendBatch(ctx, batch).Close()
}

// joinRoles returns roles as one text: arrays of arrays must be rectangular. No
// role has a comma.
func joinRoles(roles []string) string { return strings.Join(store.SortedRoles(roles), ",") }

// GetMany implements store.Store.
func (s *Store) GetMany(ctx context.Context, ids []string) ([]store.User, error) {
	users, err := s.readUsers(ctx, getManySQL, ids)
	if err != nil {
		return nil, fmt.Errorf("get %d users: %w", len(ids), err)
	}
	return users, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, query store.Query) ([]store.User, error) {
	if strings.ContainsRune(query.EmailPrefix+query.NameContains+query.Role, 0) {
		return nil, nil // No text in the database has this character, and none may.
	}
	sql, args := listSQL(query)
	users, err := s.readUsers(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return users, nil
}

// listSQL has a statement for each set of filters, so that each has a plan of its
// own: a walk along the positions, or an index of the filter and a sort.
func listSQL(query store.Query) (string, []any) {
	after := query.After.ID
	if after == "" {
		after = uuid.Nil.String()
	}
	args := []any{timestamp(query.After.CreatedAt), after, query.Limit}
	where := `(created_at, id) > ($1, $2)`
	filter := func(condition string, values ...any) {
		places := make([]any, len(values))
		for i, value := range values {
			args = append(args, value)
			places[i] = len(args)
		}
		where += ` and ` + fmt.Sprintf(condition, places...)
	}
	if prefix := store.FoldEmail(query.EmailPrefix); prefix != "" {
		filter(`lower(email) >= $%d and lower(email) < $%d`, prefix, prefix+"\U0010FFFF")
	}
	if query.NameContains != "" {
		filter(`position($%d in folded_name) > 0`, store.FoldName(query.NameContains))
	}
	if query.Role != "" {
		filter(`roles @> array[$%d]`, query.Role)
	}
	return `select ` + userColumns + ` from users where ` + where + ` order by created_at, id limit $3`, args
}

func (s *Store) readUsers(ctx context.Context, sql string, args ...any) ([]store.User, error) {
	return read(ctx, s, func(ctx context.Context, on *session) ([]store.User, error) {
		rows, _ := on.Query(ctx, sql, args...)
		return pgx.CollectRows(rows, func(row pgx.CollectableRow) (store.User, error) { return scanUser(row) })
	})
}
