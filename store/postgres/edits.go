package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
)

const (
	// Who has these ids, emails or external ids; some are found more than once. An "or" of
	// the conditions would have a plan that reads all external ids where one array is null.
	// $1 ids, $2 emails folded, $3 external ids
	ownersSQL = `
		select ` + userColumns + ` from users where id = any($1::uuid[])
		union all
		select ` + userColumns + ` from users where lower(email) = any($2::text[])
		union all
		select ` + userColumns + ` from users where external_id = any($3::text[])`

	lockManySQL = `select ` + userColumns + ` from users where id = any($1::uuid[]) order by id for update`

	// Takes their emails and external ids from users that are to get others. No email is
	// an id.
	vacateSQL = `update users set email = id::text, external_id = null where id = any($1::uuid[])`

	// $1 ids, $2 emails, $3 names, $4 names folded, $5 roles, as joinRoles does, $6 disabled,
	// $7 external ids, "" for none, $8 attributes, $9 versions, $10 now
	updateManySQL = `
		update users set email = given.email, display_name = given.name, folded_name = given.folded,
			roles = string_to_array(given.roles, chr(31)), disabled = given.disabled, external_id = nullif(given.external_id, ''),
			attributes = given.attributes::jsonb, version = given.version, updated_at = $10
		from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[], $8::text[], $9::bigint[])
			as given (id, email, name, folded, roles, disabled, external_id, attributes, version)
		where users.id = given.id`

	// $1 ids, $2 versions, $3 now
	logManySQL = `
		insert into changes (user_id, version, kind, at)
		select id, version, 'upserted', $3
		from unnest($1::uuid[], $2::bigint[]) with ordinality as given (id, version, place)
		order by place`
)

// edits are users while rows of imports and updates are applied to them.
type edits struct {
	at       time.Time
	before   map[string]store.User // As they are in the database.
	users    map[string]store.User // As they are so far.
	owners   owners
	ids      []string // One for every new version, in order.
	versions []int64
}

func newEdits(users map[string]store.User, at time.Time) *edits {
	e := &edits{at: at, before: users, users: maps.Clone(users), owners: newOwners()}
	for _, user := range users {
		e.owners.add(user)
	}
	return e
}

// findOwners learns who has the emails and external ids that updates bring.
func (e *edits) findOwners(ctx context.Context, tx pgx.Tx, updates []store.Update) error {
	var emails, externals []string
	for _, update := range updates {
		if update.Email != nil {
			emails = append(emails, store.FoldEmail(*update.Email))
		}
		if update.ExternalID != nil && *update.ExternalID != "" {
			externals = append(externals, *update.ExternalID)
		}
	}
	if len(emails)+len(externals) == 0 {
		return nil
	}
	found, err := findOwners(ctx, tx, nil, emails, externals)
	for _, user := range found {
		e.owners.add(user)
	}
	return err
}

func (e *edits) apply(update store.Update) store.Updated {
	user, found := e.users[update.ID]
	if !found {
		return store.Updated{Err: store.ErrNotFound}
	}
	next, differs, err := user.Apply(update)
	if err == nil {
		next, err = e.change(user, next, differs)
	}
	if err != nil {
		return store.Updated{Err: err}
	}
	return store.Updated{Written: store.Written{User: next, Changed: differs}}
}

// merge applies a row of an import. Where nobody has its keys, it creates a user at a time.
func (e *edits) merge(row *store.NewUser, at time.Time) store.Created {
	user, there := e.users[row.ID]
	if !there && row.OnConflict != store.FailOnConflict {
		user, there = e.users[e.owners.match(row)]
	}
	switch {
	case !there:
		if err := e.owners.refuse(row.ID, row.Email, row.ExternalID); err != nil {
			return store.Created{Err: err}
		}
		created := row.At(at)
		e.owners.add(created)
		e.put(created)
		return store.Created{ID: row.ID, Version: created.Version, Changed: true}
	case row.OnConflict == store.SkipOnConflict:
		return store.Created{ID: user.ID, Version: user.Version, Existing: true}
	case row.OnConflict == store.UpdateOnConflict:
		return e.replace(user, row)
	case store.FoldEmail(user.Email) != store.FoldEmail(row.Email):
		return store.Created{Err: store.ErrIDTaken}
	}
	return store.Created{ID: row.ID, Version: user.Version}
}

// replace has a user be what a row says.
func (e *edits) replace(user store.User, row *store.NewUser) store.Created {
	if user.ID != row.ID && !row.NewID {
		return store.Created{Err: e.owners.refuse(row.ID, row.Email, row.ExternalID)}
	}
	next, differs, err := user.Replace(*row)
	if err == nil {
		next, err = e.change(user, next, differs)
	}
	if err != nil {
		return store.Created{Err: err}
	}
	return store.Created{ID: next.ID, Version: next.Version, Existing: true, Changed: differs}
}

// change makes next of a user, where it differs.
func (e *edits) change(user, next store.User, differs bool) (store.User, error) {
	if err := e.owners.move(user, next); err != nil || !differs {
		return next, err
	}
	next.Version, next.UpdatedAt = user.Version+1, e.at
	e.put(next)
	return next, nil
}

func (e *edits) put(user store.User) {
	e.users[user.ID] = user
	e.ids, e.versions = append(e.ids, user.ID), append(e.versions, user.Version)
}

// write writes users as they are in the end, and a change for every version that they
// went through.
func (e *edits) write(ctx context.Context, tx pgx.Tx) error {
	if len(e.ids) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	if err := e.queueChanged(batch); err != nil {
		return err
	}
	if created := e.created(); len(created) > 0 {
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		sortByEmail(created)
		if err := copyUsers(ctx, tx, created); err != nil {
			return err
		}
		batch = &pgx.Batch{}
	}
	batch.Queue(logManySQL, e.ids, e.versions, e.at)
	return tx.SendBatch(ctx, batch).Close()
}

func (e *edits) queueChanged(batch *pgx.Batch) error {
	users := e.changed()
	if len(users) == 0 {
		return nil
	}
	args, err := updateArgs(users)
	if err != nil {
		return err
	}
	if ids := e.vacating(users); len(ids) > 0 {
		batch.Queue(vacateSQL, ids)
	}
	batch.Queue(updateManySQL, append(args, e.at)...)
	return nil
}

// created returns the users who are new.
func (e *edits) created() []store.User {
	var users []store.User
	for id, user := range e.users {
		if _, there := e.before[id]; !there {
			users = append(users, user)
		}
	}
	return users
}

// changed returns the users that are to be written, sorted by email.
func (e *edits) changed() []store.User {
	var users []store.User
	for id, user := range e.users {
		if before, there := e.before[id]; there && user.Version != before.Version {
			users = append(users, user)
		}
	}
	sortByEmail(users)
	return users
}

// sortByEmail makes two calls that write the same emails wait for each other's rows in one
// order.
func sortByEmail(users []store.User) {
	slices.SortFunc(users, func(a, b store.User) int { return cmp.Compare(store.FoldEmail(a.Email), store.FoldEmail(b.Email)) })
}

func idsOf(users []store.User) []string {
	ids := make([]string, len(users))
	for i, user := range users {
		ids[i] = user.ID
	}
	return ids
}

// vacating returns the ids of users whose email or external id goes to another of them. A
// unique index does not wait for the end of the statement that moves both.
func (e *edits) vacating(users []store.User) []string {
	var ids []string
	for _, user := range users {
		before := e.before[user.ID]
		if e.owners.refuse(user.ID, before.Email, before.ExternalID) != nil {
			ids = append(ids, user.ID)
		}
	}
	return ids
}

// updateArgs returns the arguments of updateManySQL but for the last.
func updateArgs(users []store.User) ([]any, error) {
	n := len(users)
	ids, emails, names, folded := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	roles, externals, attributes := make([]string, n), make([]string, n), make([]string, n)
	disabled, versions := make([]bool, n), make([]int64, n)
	for i, user := range users {
		encoded, err := store.EncodeAttributes(user.Attributes)
		if err != nil {
			return nil, err
		}
		ids[i], emails[i], names[i], folded[i] = user.ID, user.Email, user.DisplayName, store.FoldName(user.DisplayName)
		roles[i], disabled[i], externals[i], attributes[i] = joinRoles(user.Roles), user.Disabled, user.ExternalID, encoded
		versions[i] = user.Version
	}
	return []any{ids, emails, names, folded, roles, disabled, externals, attributes, versions}, nil
}

// joinRoles returns roles as one text: arrays of arrays must be rectangular. What separates
// them is in no role of another program either.
func joinRoles(roles []string) string { return strings.Join(store.SortedRoles(roles), "\x1f") }

// owners are the ids of users by their emails, folded, and external ids, as far as they
// are known.
type owners struct{ emails, externals map[string]string }

func newOwners() owners { return owners{make(map[string]string), make(map[string]string)} }

// findOwners returns the users who have one of these ids, emails or external ids.
func findOwners(ctx context.Context, tx pgx.Tx, ids, emails, externals []string) (map[string]store.User, error) {
	return collectByID(tx.Query(ctx, ownersSQL, ids, emails, externals))
}

// lockUsers locks users, in the order of their ids, so that two calls wait for each other
// in one order.
func lockUsers(ctx context.Context, tx pgx.Tx, ids []string) (map[string]store.User, error) {
	return collectByID(tx.Query(ctx, lockManySQL, ids))
}

// collectByID returns the users of rows of userColumns by their ids.
func collectByID(rows pgx.Rows, _ error) (map[string]store.User, error) {
	users, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (store.User, error) { return scanUser(row) })
	byID := make(map[string]store.User, len(users))
	for _, user := range users {
		byID[user.ID] = user
	}
	return byID, err
}

func (o owners) add(user store.User) {
	o.emails[store.FoldEmail(user.Email)] = user.ID
	if user.ExternalID != "" {
		o.externals[user.ExternalID] = user.ID
	}
}

// match returns the id of the user whom a row is about, or "" for nobody.
func (o owners) match(row *store.NewUser) string {
	if id, taken := o.externals[row.ExternalID]; taken {
		return id
	}
	return o.emails[store.FoldEmail(row.Email)]
}

// refuse returns why the user with an id cannot have an email and an external id, or nil.
func (o owners) refuse(id, email, external string) error {
	if owner, taken := o.emails[store.FoldEmail(email)]; taken && owner != id {
		return store.ErrEmailTaken
	}
	if owner, taken := o.externals[external]; taken && owner != id {
		return store.ErrExternalIDTaken
	}
	return nil
}

// move gives a user the email and the external id of next, and those of before to whoever
// wants them, or returns why it cannot.
func (o owners) move(before, next store.User) error {
	if before.Email == next.Email && before.ExternalID == next.ExternalID {
		return nil
	}
	if err := o.refuse(next.ID, next.Email, next.ExternalID); err != nil {
		return err
	}
	delete(o.emails, store.FoldEmail(before.Email))
	delete(o.externals, before.ExternalID)
	o.add(next)
	return nil
}
