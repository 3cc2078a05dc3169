package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
)

const userColumns = `id, email, display_name, created_at, updated_at, last_login, roles, version`

const (
	getSQL        = `select ` + userColumns + ` from users where id = ?1`
	getByEmailSQL = `select ` + userColumns + ` from users where email = ?1`
	insertSQL     = `insert into users (` + userColumns + `) values (?1, ?2, ?3, ?4, ?4, null, ?5, 1) on conflict do nothing`
	lastRowSQL    = `select ifnull(max(rowid), 0) from users`
	newRolesSQL   = `insert into user_roles (role, created_at, id)
		select value, created_at, users.id from users not indexed, json_each(roles) where users.rowid > ?1`
	newChangesSQL = `insert into changes (user_id, version, kind, at)
		select id, 1, 1, created_at from users not indexed where rowid > ?1 order by rowid`
	insertRoleSQL = `insert into user_roles (role, created_at, id) values (?1, ?2, ?3)`
	deleteRoleSQL = `delete from user_roles where role = ?1 and created_at = ?2 and id = ?3`
	updateSQL     = `update users set display_name = ?2, roles = ?3, last_login = ?4, updated_at = ?5, version = ?6 where id = ?1`
	deleteSQL     = `delete from users where id = ?1`
	burySQL       = `insert into deleted_users (id, version, at) values (?1, ?2, ?3)`
	deletedSQL    = `select deleted_users.id from json_each(?1) CROSS join deleted_users on deleted_users.id = value`
	logSQL        = `insert into changes (user_id, version, kind, at) values (?1, ?2, ?3, ?4)`
)

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, user store.NewUser) (store.User, error) {
	var created store.User
	err := s.write(ctx, func(conn *sqlite.Conn) error {
		outcomes, err := s.create(conn, []store.NewUser{user})
		if err != nil {
			return err
		}
		created = outcomes[0].user
		return outcomes[0].err
	})
	if err != nil {
		return store.User{}, fmt.Errorf("create user %s: %w", user.ID, err)
	}
	return created, nil
}

// create stores new users, or finds that they are there already, and says for each
// what became of it.
func (s *Store) create(conn *sqlite.Conn, users []store.NewUser) ([]createdUser, error) {
	last, err := scalar(conn, lastRowSQL)
	if err != nil {
		return nil, err
	}
	deleted, err := deletedAmong(conn, users)
	if err != nil {
		return nil, err
	}
	outcomes := make([]createdUser, len(users))
	for i, user := range users {
		if deleted[user.ID] {
			outcomes[i].err = store.ErrIDTaken
			continue
		}
		outcomes[i].user, outcomes[i].err = s.insert(conn, user)
		if err := outcomes[i].err; err != nil && !refused(err) {
			return nil, err
		}
	}
	return outcomes, finishInserts(conn, last)
}

// createdUser is what became of a new user.
type createdUser struct {
	user store.User
	err  error // ErrEmailTaken or ErrIDTaken.
}

// deletedAmong returns those ids of users that deleted users had.
func deletedAmong(conn *sqlite.Conn, users []store.NewUser) (map[string]bool, error) {
	ids := make([]string, len(users))
	for i, user := range users {
		ids[i] = user.ID
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	deleted := make(map[string]bool)
	err = sqlitex.Execute(conn, deletedSQL, &sqlitex.ExecOptions{
		Args:       []any{string(list)},
		ResultFunc: func(stmt *sqlite.Stmt) error { deleted[stmt.ColumnText(0)] = true; return nil },
	})
	return deleted, err
}

// insert stores the row of a new user, or finds that it is there already. What
// goes with new rows is left to finishInserts.
func (s *Store) insert(conn *sqlite.Conn, user store.NewUser) (store.User, error) {
	stamp := s.tick()
	created := store.User{
		ID: user.ID, Email: user.Email, DisplayName: user.DisplayName,
		CreatedAt: timeOf(stamp), UpdatedAt: timeOf(stamp),
		Roles: store.SortedRoles(user.Roles), Version: 1,
	}
	roles, err := encodeRoles(created.Roles)
	if err != nil {
		return store.User{}, err
	}
	if err := exec(conn, insertSQL, user.ID, user.Email, user.DisplayName, stamp, roles); err != nil {
		return store.User{}, err
	}
	if conn.Changes() == 0 {
		return conflicting(conn, user)
	}
	return created, nil
}

// finishInserts writes the roles and the changes of the rows after last, all in
// one statement each, which is what makes imports fast.
func finishInserts(conn *sqlite.Conn, last int64) error {
	if err := exec(conn, newRolesSQL, last); err != nil {
		return err
	}
	return exec(conn, newChangesSQL, last)
}

// conflicting is what to answer when a user with the id or the email of a new one
// is there.
func conflicting(conn *sqlite.Conn, user store.NewUser) (store.User, error) {
	existing, err := get(conn, getSQL, user.ID)
	if errors.Is(err, store.ErrNotFound) {
		return store.User{}, store.ErrEmailTaken
	}
	if err != nil {
		return store.User{}, err
	}
	if store.FoldEmail(existing.Email) != store.FoldEmail(user.Email) {
		return store.User{}, store.ErrIDTaken
	}
	return existing, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, id string) (store.User, error) {
	user, err := s.getOne(ctx, getSQL, id)
	if err != nil {
		return store.User{}, fmt.Errorf("get user %s: %w", id, err)
	}
	return user, nil
}

// GetByEmail implements store.Store.
func (s *Store) GetByEmail(ctx context.Context, email string) (store.User, error) {
	user, err := s.getOne(ctx, getByEmailSQL, email)
	if err != nil {
		return store.User{}, fmt.Errorf("get user by email: %w", err)
	}
	return user, nil
}

func (s *Store) getOne(ctx context.Context, query, key string) (user store.User, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) (err error) {
		user, err = get(conn, query, key)
		return err
	})
	return user, err
}

// get returns the user that a query finds, or ErrNotFound.
func get(conn *sqlite.Conn, query, key string) (store.User, error) {
	var user store.User
	found := false
	err := sqlitex.Execute(conn, query, &sqlitex.ExecOptions{
		Args: []any{key},
		ResultFunc: func(stmt *sqlite.Stmt) error {
			found = true
			user = scanUser(stmt)
			return nil
		},
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return user, err
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, update store.Update) (store.User, error) {
	var updated store.User
	err := s.write(ctx, func(conn *sqlite.Conn) (err error) {
		updated, err = s.update(conn, update)
		return err
	})
	if err != nil {
		return store.User{}, fmt.Errorf("update user %s: %w", update.ID, err)
	}
	return updated, nil
}

func (s *Store) update(conn *sqlite.Conn, update store.Update) (store.User, error) {
	before, err := get(conn, getSQL, update.ID)
	if err != nil {
		return store.User{}, err
	}
	after, changed, err := before.Apply(update)
	if err != nil || !changed {
		return after, err
	}
	return s.replace(conn, before, after)
}

// RecordLogin implements store.Store.
func (s *Store) RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (store.User, error) {
	at = timeOf(at.UnixMicro()) // As it is kept: else the same login would be later than itself.
	var user store.User
	err := s.write(ctx, func(conn *sqlite.Conn) error {
		before, err := get(conn, getSQL, id)
		if err != nil {
			return err
		}
		if !before.LoginDue(at, s.now(), resolution) {
			user = before
			return nil
		}
		after := before
		after.LastLogin = at
		user, err = s.replace(conn, before, after)
		return err
	})
	if err != nil {
		return store.User{}, fmt.Errorf("record login of user %s: %w", id, err)
	}
	return user, nil
}

// replace stores a user's next version.
func (s *Store) replace(conn *sqlite.Conn, before, after store.User) (store.User, error) {
	stamp := s.tick()
	after.UpdatedAt, after.Version = timeOf(stamp), before.Version+1
	roles, err := encodeRoles(after.Roles)
	if err != nil {
		return store.User{}, err
	}
	var login any
	if !after.LastLogin.IsZero() {
		login = after.LastLogin.UnixMicro()
	}
	if err := exec(conn, updateSQL, after.ID, after.DisplayName, roles, login, stamp, after.Version); err != nil {
		return store.User{}, err
	}
	if err := replaceRoles(conn, before, after); err != nil {
		return store.User{}, err
	}
	return after, exec(conn, logSQL, after.ID, after.Version, int(store.Upserted), stamp)
}

func replaceRoles(conn *sqlite.Conn, before, after store.User) error {
	created := before.CreatedAt.UnixMicro()
	for _, role := range without(before.Roles, after.Roles) {
		if err := exec(conn, deleteRoleSQL, role, created, before.ID); err != nil {
			return err
		}
	}
	for _, role := range without(after.Roles, before.Roles) {
		if err := exec(conn, insertRoleSQL, role, created, before.ID); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, id string, expectedVersion int64) (int64, error) {
	var version int64
	err := s.write(ctx, func(conn *sqlite.Conn) (err error) {
		version, err = s.remove(conn, id, expectedVersion)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("delete user %s: %w", id, err)
	}
	return version, nil
}

func (s *Store) remove(conn *sqlite.Conn, id string, expectedVersion int64) (int64, error) {
	user, err := get(conn, getSQL, id)
	if err != nil {
		return 0, err
	}
	if expectedVersion != 0 && expectedVersion != user.Version {
		return 0, store.ErrVersionMismatch
	}
	stamp, version := s.tick(), user.Version+1
	if err := exec(conn, deleteSQL, id); err != nil {
		return 0, err
	}
	if err := replaceRoles(conn, user, store.User{}); err != nil {
		return 0, err
	}
	if err := exec(conn, burySQL, id, version, stamp); err != nil {
		return 0, err
	}
	return version, exec(conn, logSQL, id, version, int(store.Deleted), stamp)
}

// exec runs a statement that returns no rows.
func exec(conn *sqlite.Conn, query string, args ...any) error {
	return sqlitex.Execute(conn, query, &sqlitex.ExecOptions{Args: args})
}

// scanUser reads userColumns.
func scanUser(stmt *sqlite.Stmt) store.User {
	user := scanNumbers(stmt)
	user.ID, user.Email, user.DisplayName = stmt.ColumnText(0), stmt.ColumnText(1), stmt.ColumnText(2)
	user.Roles = rolesOf(stmt.ColumnText(6))
	return user
}

// scanNumbers reads the columns of userColumns that are no texts.
func scanNumbers(stmt *sqlite.Stmt) store.User {
	user := store.User{
		CreatedAt: timeOf(stmt.ColumnInt64(3)),
		UpdatedAt: timeOf(stmt.ColumnInt64(4)),
		Version:   stmt.ColumnInt64(7),
	}
	if !stmt.ColumnIsNull(5) {
		user.LastLogin = timeOf(stmt.ColumnInt64(5))
	}
	return user
}

// userRows collects rows of userColumns. Their texts share one allocation: a list of
// many small ones leaves a heap in which hardly a page is free.
type userRows struct {
	users []store.User
	texts []byte
	ends  []int // Of each user's id, email, name and roles in texts.
}

func newUserRows(capacity int) *userRows {
	return &userRows{users: make([]store.User, 0, capacity), ends: make([]int, 0, 4*capacity)}
}

func (r *userRows) add(stmt *sqlite.Stmt) {
	r.users = append(r.users, scanNumbers(stmt))
	for _, column := range [...]int{0, 1, 2, 6} {
		start, size := len(r.texts), stmt.ColumnLen(column)
		r.texts = slices.Grow(r.texts, size)[:start+size]
		stmt.ColumnBytes(column, r.texts[start:])
		r.ends = append(r.ends, len(r.texts))
	}
}

func (r *userRows) decode() []store.User {
	texts, start := string(r.texts), 0
	for i := range r.users {
		user, roles := &r.users[i], ""
		for column, text := range [...]*string{&user.ID, &user.Email, &user.DisplayName, &roles} {
			end := r.ends[4*i+column]
			*text, start = texts[start:end], end
		}
		user.Roles = rolesOf(roles)
	}
	return r.users
}

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

const noRoles = `[]`

func encodeRoles(roles []string) (string, error) {
	if len(roles) == 0 {
		return noRoles, nil
	}
	text, err := json.Marshal(roles)
	return string(text), err
}

// rolesOf returns the roles of a row, for which User.Check has the words if others have
// written what are none.
func rolesOf(text string) []string {
	roles, err := decodeRoles(text)
	if err != nil {
		return store.UnreadableRoles()
	}
	return roles
}

// decodeRoles returns what encodeRoles was given. Package json is for what others have
// written to the file; it needs ten times as long.
func decodeRoles(text string) ([]string, error) {
	if text == noRoles {
		return nil, nil
	}
	if inner, ok := strings.CutPrefix(text, `["`); ok && !strings.ContainsAny(text, " \t\n\r\\") {
		if inner, ok = strings.CutSuffix(inner, `"]`); ok && 2*strings.Count(inner, `","`) == strings.Count(inner, `"`) {
			return strings.Split(inner, `","`), nil
		}
	}
	var roles []string
	if err := json.Unmarshal([]byte(text), &roles); err != nil {
		return nil, fmt.Errorf("roles of a user: %w", err)
	}
	return roles, nil
}
