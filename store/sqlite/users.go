package sqlite

import (
	"cmp"
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

const (
	userColumns = `id, email, display_name, created_at, updated_at, last_login, roles, version, disabled, external_id, attributes`
	userPlaces  = `?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11` // The values of userValues.
	rowColumn   = 11                                             // Behind userColumns.
)

const (
	getSQL        = `select ` + userColumns + `, rowid from users where id = ?1`
	getByEmailSQL = `select ` + userColumns + `, rowid from users where email = ?1`
	getByExtIDSQL = `select ` + userColumns + `, rowid from users where external_id = ?1`
	insertSQL     = `insert into users (` + userColumns + `) values (` + userPlaces + `) on conflict do nothing`
	newRolesSQL   = `insert into user_roles (role, created_at, id)
		select value, created_at, users.id from users not indexed, json_each(roles) where users.rowid >= ?1`
	newChangesSQL = `insert into changes (user_id, version, kind, at)
		select id, 1, 1, updated_at from users not indexed where rowid >= ?1 order by rowid`
	insertRoleSQL    = `insert into user_roles (role, created_at, id) values (?1, ?2, ?3)`
	deleteRoleSQL    = `delete from user_roles where role = ?1 and created_at = ?2 and id = ?3`
	newAttributesSQL = `insert into user_attributes (name, value, created_at, id)
		select key, value, created_at, users.id from users not indexed, json_each(attributes) where users.rowid >= ?1`
	insertAttributeSQL = `insert into user_attributes (name, value, created_at, id) values (?1, ?2, ?3, ?4)`
	deleteAttributeSQL = `delete from user_attributes where name = ?1 and value = ?2 and created_at = ?3 and id = ?4`
	updateSQL          = `update users set display_name = ?2, roles = ?3, last_login = ?4, updated_at = ?5, version = ?6,
		disabled = ?7, attributes = ?8 where rowid = ?1`
	rekeySQL   = `update users set email = ?2, external_id = ?3 where rowid = ?1` // Apart: it rewrites indexes.
	deleteSQL  = `delete from users where id = ?1`
	burySQL    = `insert into deleted_users (id, version, at) values (?1, ?2, ?3)`
	deletedSQL = `select deleted_users.id from json_each(?1) CROSS join deleted_users on deleted_users.id = value`
	logSQL     = `insert into changes (user_id, version, kind, at) values (?, ?, ?, ?)`
)

// logManySQL is logSQL for so many changes.
var logManySQL = logSQL + strings.Repeat(`, (?, ?, ?, ?)`, logTogether-1)

const logTogether = 32

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, user store.NewUser) (store.Written, error) {
	var created store.Written
	err := s.write(ctx, edited(func(e *edits) error {
		outcomes, err := s.create(e, []store.NewUser{user})
		if err != nil {
			return err
		}
		created = outcomes[0].Written
		return outcomes[0].err
	}))
	if err != nil {
		return store.Written{}, fmt.Errorf("create user %s: %w", user.ID, err)
	}
	return created, nil
}

// create stores new users, or finds that they are there already, and says for each
// what became of it.
func (s *Store) create(e *edits, users []store.NewUser) ([]createdUser, error) {
	deleted, err := deletedAmong(e.conn, users)
	if err != nil {
		return nil, err
	}
	outcomes := make([]createdUser, len(users))
	for i := range users {
		if deleted[users[i].ID] {
			outcomes[i].err = store.ErrIDTaken
			continue
		}
		if outcomes[i] = s.insert(e, &users[i]); outcomes[i].err != nil && !refused(outcomes[i].err) {
			return nil, outcomes[i].err
		}
	}
	return outcomes, nil
}

// createdUser is what became of a new user.
type createdUser struct {
	store.Written
	existing bool  // It was there, and is left alone or updated.
	err      error // Why it is not stored.
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

// edits are what a write does to users. What goes with their rows is written later, for many
// in one statement, which is what makes imports and streams of updates fast.
type edits struct {
	conn       *sqlite.Conn
	changes    []store.Change // Of users who were there, which are not in the log yet.
	pending    bool           // There are new rows, made after those changes, that are not finished,
	first      int64          // from this one on.
	attributes bool           // One of them has attributes.
}

// edited is a write that does what f does, and then what goes with it.
func edited(f func(*edits) error) func(*sqlite.Conn) error {
	return func(conn *sqlite.Conn) error {
		e := &edits{conn: conn}
		if err := f(e); err != nil {
			return err
		}
		return e.finish()
	}
}

// insert stores the row of a new user, or does what is to be done where it is there already.
func (s *Store) insert(e *edits, user *store.NewUser) createdUser {
	created := user.At(timeOf(s.tick()))
	values, err := userValues(created)
	if err == nil {
		err = exec(e.conn, insertSQL, values...)
	}
	switch {
	case err != nil:
		return createdUser{err: err}
	case e.conn.Changes() > 0:
		if !e.pending {
			e.pending, e.first = true, e.conn.LastInsertRowID()
		}
		e.attributes = e.attributes || len(created.Attributes) > 0
		return createdUser{Written: store.Written{User: created, Changed: true}}
	case user.OnConflict == store.FailOnConflict:
		existing, err := conflicting(e.conn, *user)
		return createdUser{Written: store.Written{User: existing}, err: err}
	}
	if e.pending { // The user may be one of them.
		if err := e.finish(); err != nil {
			return createdUser{err: err}
		}
	}
	return s.merge(e, user)
}

// merge does what a row wants done to the user who is there.
func (s *Store) merge(e *edits, row *store.NewUser) createdUser {
	before, err := match(e.conn, row)
	switch {
	case err != nil:
		return createdUser{err: err}
	case row.OnConflict == store.SkipOnConflict:
		return createdUser{Written: store.Written{User: before.User}, existing: true}
	case before.ID != row.ID && !row.NewID:
		return createdUser{err: taken(e.conn, row.ID, row.Email, row.ExternalID)}
	}
	after, changed, err := before.Replace(*row)
	written := store.Written{User: after}
	if err == nil && changed {
		written, err = s.change(e, before, after)
	}
	return createdUser{Written: written, existing: true, err: err}
}

// match returns the user whom a row is about.
func match(conn *sqlite.Conn, row *store.NewUser) (user stored, err error) {
	for _, key := range []struct{ query, value string }{
		{getSQL, row.ID}, {getByExtIDSQL, row.ExternalID}, {getByEmailSQL, row.Email},
	} {
		user, err = get(conn, key.query, key.value)
		if !errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	return user, err
}

// userValues are the values of userColumns.
func userValues(user store.User) ([]any, error) {
	roles, err := encodeRoles(user.Roles)
	if err != nil {
		return nil, err
	}
	attributes, err := store.EncodeAttributes(user.Attributes)
	return []any{
		user.ID, user.Email, user.DisplayName, user.CreatedAt.UnixMicro(), user.UpdatedAt.UnixMicro(), timeOrNull(user.LastLogin),
		roles, user.Version, user.Disabled, textOrNull(user.ExternalID), attributes,
	}, err
}

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func textOrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// log adds a change to the log.
func (e *edits) log(id string, version int64, kind store.Kind, stamp int64) {
	e.changes = append(e.changes, store.Change{UserID: id, Version: version, Kind: kind, At: timeOf(stamp)})
}

// finish writes the changes, and the roles, the attributes and the changes of the new rows.
func (e *edits) finish() error {
	if err := writeLog(e.conn, e.changes); err != nil {
		return err
	}
	e.changes = e.changes[:0]
	if !e.pending {
		return nil
	}
	if err := exec(e.conn, newRolesSQL, e.first); err != nil {
		return err
	}
	if e.attributes {
		if err := exec(e.conn, newAttributesSQL, e.first); err != nil {
			return err
		}
	}
	if err := exec(e.conn, newChangesSQL, e.first); err != nil {
		return err
	}
	e.pending, e.attributes = false, false
	return nil
}

// writeLog writes changes to the log, in their order.
func writeLog(conn *sqlite.Conn, changes []store.Change) error {
	for len(changes) > 0 {
		query, n := logSQL, 1
		if len(changes) >= logTogether {
			query, n = logManySQL, logTogether
		}
		args := make([]any, 0, 4*n)
		for _, change := range changes[:n] {
			args = append(args, change.UserID, change.Version, int(change.Kind), change.At.UnixMicro())
		}
		if err := exec(conn, query, args...); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// conflicting is what to answer when a user with the id, the email or the external id of
// a new one is there.
func conflicting(conn *sqlite.Conn, user store.NewUser) (store.User, error) {
	existing, err := get(conn, getSQL, user.ID)
	if errors.Is(err, store.ErrNotFound) {
		return store.User{}, taken(conn, user.ID, user.Email, user.ExternalID)
	}
	if err != nil {
		return store.User{}, err
	}
	if store.FoldEmail(existing.Email) != store.FoldEmail(user.Email) {
		return store.User{}, store.ErrIDTaken
	}
	return existing.User, nil
}

// taken says which of the keys of a user another one has, if any.
func taken(conn *sqlite.Conn, id, email, externalID string) error {
	for _, key := range []struct {
		query, value string
		err          error
	}{
		{`select count(*) from users where email = ?1 and id <> ?2`, email, store.ErrEmailTaken},
		{`select count(*) from users where external_id = ?1 and id <> ?2`, externalID, store.ErrExternalIDTaken},
	} {
		if others, err := scalar(conn, key.query, key.value, id); err != nil || others > 0 {
			return cmp.Or(err, key.err)
		}
	}
	return nil
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

// GetByExternalID implements store.Store.
func (s *Store) GetByExternalID(ctx context.Context, externalID string) (store.User, error) {
	user, err := s.getOne(ctx, getByExtIDSQL, externalID)
	if err != nil {
		return store.User{}, fmt.Errorf("get user by external id: %w", err)
	}
	return user, nil
}

func (s *Store) getOne(ctx context.Context, query, key string) (user store.User, err error) {
	err = s.read(ctx, func(conn *sqlite.Conn) error {
		found, err := get(conn, query, key)
		user = found.User
		return err
	})
	return user, err
}

// stored is a user and its row, which is the same for all of a transaction.
type stored struct {
	store.User
	row int64
}

// get returns the user that a query finds, or ErrNotFound.
func get(conn *sqlite.Conn, query, key string) (user stored, err error) {
	found := false
	err = sqlitex.Execute(conn, query, &sqlitex.ExecOptions{
		Args: []any{key},
		ResultFunc: func(stmt *sqlite.Stmt) error {
			found = true
			user = stored{scanUser(stmt), stmt.ColumnInt64(rowColumn)}
			return nil
		},
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return user, err
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, update store.Update) (store.Written, error) {
	var updated store.Written
	err := s.write(ctx, edited(func(e *edits) (err error) {
		updated, err = s.update(e, update)
		return err
	}))
	if err != nil {
		return store.Written{}, fmt.Errorf("update user %s: %w", update.ID, err)
	}
	return updated, nil
}

func (s *Store) update(e *edits, update store.Update) (store.Written, error) {
	before, err := get(e.conn, getSQL, update.ID)
	if err != nil {
		return store.Written{}, err
	}
	after, changed, err := before.Apply(update)
	if err != nil || !changed {
		return store.Written{User: after}, err
	}
	return s.change(e, before, after)
}

// change stores a user's next version, if nobody else has its keys.
func (s *Store) change(e *edits, before stored, after store.User) (store.Written, error) {
	if after.Email != before.Email || after.ExternalID != before.ExternalID {
		if err := taken(e.conn, after.ID, after.Email, after.ExternalID); err != nil {
			return store.Written{}, err
		}
		if err := exec(e.conn, rekeySQL, before.row, after.Email, textOrNull(after.ExternalID)); err != nil {
			return store.Written{}, err
		}
	}
	return s.replace(e, before, after)
}

// RecordLogin implements store.Store.
func (s *Store) RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (store.Written, error) {
	at = timeOf(at.UnixMicro()) // As it is kept: else the same login would be later than itself.
	var login store.Written
	err := s.write(ctx, edited(func(e *edits) error {
		before, err := get(e.conn, getSQL, id)
		if err != nil {
			return err
		}
		if before.Disabled {
			return store.ErrUserDisabled
		}
		if !before.LoginDue(at, s.now(), resolution) {
			login.User = before.User
			return nil
		}
		after := before.User
		after.LastLogin = at
		login, err = s.replace(e, before, after)
		return err
	}))
	if err != nil {
		return store.Written{}, fmt.Errorf("record login of user %s: %w", id, err)
	}
	return login, nil
}

// replace stores a user's next version, but for its keys.
func (s *Store) replace(e *edits, before stored, after store.User) (store.Written, error) {
	version, err := before.NextVersion()
	if err != nil {
		return store.Written{}, err
	}
	stamp := s.tick()
	after.UpdatedAt, after.Version = timeOf(stamp), version
	roles, err := encodeRoles(after.Roles)
	if err != nil {
		return store.Written{}, err
	}
	attributes, err := store.EncodeAttributes(after.Attributes)
	if err != nil {
		return store.Written{}, err
	}
	err = exec(e.conn, updateSQL, before.row, after.DisplayName, roles, timeOrNull(after.LastLogin), stamp, after.Version,
		after.Disabled, attributes)
	if err != nil {
		return store.Written{}, err
	}
	e.log(after.ID, after.Version, store.Upserted, stamp)
	return store.Written{User: after, Changed: true}, replacePostings(e.conn, before.User, after)
}

// replacePostings replaces what a user is found by in the order of positions.
func replacePostings(conn *sqlite.Conn, before, after store.User) error {
	created := before.CreatedAt.UnixMicro()
	for _, attribute := range without(before.Attributes, after.Attributes) {
		if err := exec(conn, deleteAttributeSQL, attribute.Name, attribute.Value, created, before.ID); err != nil {
			return err
		}
	}
	for _, attribute := range without(after.Attributes, before.Attributes) {
		if err := exec(conn, insertAttributeSQL, attribute.Name, attribute.Value, created, before.ID); err != nil {
			return err
		}
	}
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
	err := s.write(ctx, edited(func(e *edits) (err error) {
		version, err = s.remove(e, id, expectedVersion)
		return err
	}))
	if err != nil {
		return 0, fmt.Errorf("delete user %s: %w", id, err)
	}
	return version, nil
}

func (s *Store) remove(e *edits, id string, expectedVersion int64) (int64, error) {
	user, err := get(e.conn, getSQL, id)
	if err != nil {
		return 0, err
	}
	if expectedVersion != 0 && expectedVersion != user.Version {
		return 0, store.ErrVersionMismatch
	}
	version, err := user.NextVersion()
	if err != nil {
		return 0, err
	}
	stamp := s.tick()
	if err := exec(e.conn, deleteSQL, id); err != nil {
		return 0, err
	}
	if err := replacePostings(e.conn, user.User, store.User{}); err != nil {
		return 0, err
	}
	e.log(id, version, store.Deleted, stamp)
	return version, exec(e.conn, burySQL, id, version, stamp)
}

// exec runs a statement that returns no rows.
func exec(conn *sqlite.Conn, query string, args ...any) error {
	return sqlitex.Execute(conn, query, &sqlitex.ExecOptions{Args: args})
}

// scanUser reads userColumns.
func scanUser(stmt *sqlite.Stmt) store.User {
	user := scanOthers(stmt)
	user.ID, user.Email, user.DisplayName = stmt.ColumnText(0), stmt.ColumnText(1), stmt.ColumnText(2)
	user.Roles = rolesOf(stmt.ColumnText(6))
	return user
}

// scanOthers reads the columns of userColumns but for the texts that every user has.
func scanOthers(stmt *sqlite.Stmt) store.User {
	user := store.User{
		CreatedAt:  timeOf(stmt.ColumnInt64(3)),
		UpdatedAt:  timeOf(stmt.ColumnInt64(4)),
		Version:    stmt.ColumnInt64(7),
		Disabled:   stmt.ColumnInt64(8) != 0,
		ExternalID: stmt.ColumnText(9),
		Attributes: store.DecodeAttributes(stmt.ColumnText(10)),
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
	r.users = append(r.users, scanOthers(stmt))
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
