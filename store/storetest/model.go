package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/example/userd/store"
)

// RunModel compares a store with a model in memory: after each of many random
// operations their answers, their users and their change logs must be the same. It
// begins no new sequence of operations after 5 s.
func RunModel(t *testing.T, open func(t *testing.T) store.Store) {
	s := open(t)
	end, failed := time.Now().Add(5*time.Second), false
	rapid.Check(t, func(rt *rapid.T) {
		if !failed && time.Now().After(end) {
			return // A failure is still made smaller.
		}
		defer func() { failed = failed || rt.Failed() }()
		m := newMachine(t.Context(), rt, s)
		rt.Repeat(map[string]func(*rapid.T){
			"":                m.check,
			"Create":          m.create,
			"Import":          m.importSome,
			"Get":             m.get,
			"GetMany":         m.getMany,
			"GetByEmail":      m.getByEmail,
			"GetByExternalID": m.getByExternalID,
			"List":            m.list,
			"Update":          m.update,
			"UpdateMany":      m.updateMany,
			"Delete":          m.remove,
			"Login":           m.login,
			"Changes":         m.changes,
			"Prune":           m.prune,
		})
	})
}

// model is what a store should be.
type model struct {
	users map[string]store.User
	gone  map[string]bool // Ids of deleted users.
	log   []entry
}

// entry is a row of the model's change log.
type entry struct {
	store.Change
	pruned bool
}

// lower folds ASCII letters only, as the uniqueness of emails does.
func lower(email string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, email)
}

func (m *model) byEmail(email string) (store.User, error) {
	for _, user := range m.users {
		if lower(user.Email) == lower(email) {
			return user, nil
		}
	}
	return store.User{}, store.ErrNotFound
}

func (m *model) byExternalID(externalID string) (store.User, error) {
	for _, user := range m.users {
		if externalID != "" && user.ExternalID == externalID {
			return user, nil
		}
	}
	return store.User{}, store.ErrNotFound
}

func (m *model) byID(id string) (store.User, error) {
	if user, ok := m.users[id]; ok {
		return user, nil
	}
	return store.User{}, store.ErrNotFound
}

func (m *model) create(user store.NewUser) (store.User, error) {
	sameID, err := m.byID(user.ID)
	if err == nil && lower(sameID.Email) == lower(user.Email) {
		return sameID, nil
	}
	if err == nil || m.gone[user.ID] {
		return store.User{}, store.ErrIDTaken
	}
	if err := m.taken(user.ID, user.Email, user.ExternalID); err != nil {
		return store.User{}, err
	}
	return m.put(store.User{
		ID: user.ID, Email: user.Email, DisplayName: user.DisplayName, Roles: set(user.Roles),
		Disabled: user.Disabled, ExternalID: user.ExternalID, Attributes: sortedAttributes(user.Attributes),
		CreatedAt: user.CreatedAt, LastLogin: user.LastLogin,
	}), nil
}

// importRow is create for a row that may be about a user who is there.
func (m *model) importRow(row store.NewUser) store.Created {
	user, there := m.match(row)
	if !there || row.OnConflict == store.FailOnConflict || m.gone[row.ID] {
		logged := len(m.log)
		created, err := m.create(row)
		return store.Created{ID: created.ID, Err: err, Version: created.Version, Changed: len(m.log) > logged}
	}
	if row.OnConflict == store.SkipOnConflict {
		return store.Created{ID: user.ID, Version: user.Version, Existing: true}
	}
	if user.ID != row.ID && !row.NewID {
		return store.Created{Err: m.taken(row.ID, row.Email, row.ExternalID)}
	}
	before := user
	user.Email, user.DisplayName, user.Disabled = row.Email, row.DisplayName, row.Disabled
	user.Roles, user.Attributes = set(row.Roles), sortedAttributes(row.Attributes)
	if row.ExternalID != "" {
		user.ExternalID = row.ExternalID
	}
	if err := m.taken(user.ID, user.Email, user.ExternalID); err != nil {
		return store.Created{Err: err}
	}
	differs := diffOf(user, before) != ""
	if differs {
		user = m.put(user)
	}
	return store.Created{ID: user.ID, Version: user.Version, Existing: true, Changed: differs}
}

// match finds the user whom a row of an import is about.
func (m *model) match(row store.NewUser) (store.User, bool) {
	for _, find := range []func() (store.User, error){
		func() (store.User, error) { return m.byID(row.ID) },
		func() (store.User, error) { return m.byExternalID(row.ExternalID) },
		func() (store.User, error) { return m.byEmail(row.Email) },
	} {
		if user, err := find(); err == nil {
			return user, true
		}
	}
	return store.User{}, false
}

// taken says which of the keys that a user would have another one has.
func (m *model) taken(id, email, externalID string) error {
	if other, err := m.byEmail(email); err == nil && other.ID != id {
		return store.ErrEmailTaken
	}
	if other, err := m.byExternalID(externalID); err == nil && other.ID != id {
		return store.ErrExternalIDTaken
	}
	return nil
}

func (m *model) update(update store.Update) (store.User, error) {
	user, err := m.byID(update.ID)
	if err != nil {
		return user, err
	}
	if update.ExpectedVersion != 0 && update.ExpectedVersion != user.Version {
		return store.User{}, store.ErrVersionMismatch
	}
	before := user
	for _, field := range []struct{ to, given *string }{
		{&user.Email, update.Email}, {&user.DisplayName, update.DisplayName}, {&user.ExternalID, update.ExternalID},
	} {
		if field.given != nil {
			*field.to = *field.given
		}
	}
	if update.Disabled != nil {
		user.Disabled = *update.Disabled
	}
	var kept []string
	for _, role := range user.Roles {
		if !slices.Contains(update.RemoveRoles, role) {
			kept = append(kept, role)
		}
	}
	user.Roles = set(append(kept, update.AddRoles...))
	if len(user.Roles) > store.MaxRoles {
		return store.User{}, store.ErrTooManyRoles
	}
	attributes := make(map[string]string)
	for _, attribute := range user.Attributes {
		attributes[attribute.Name] = attribute.Value
	}
	for _, name := range update.RemoveAttributes {
		delete(attributes, name)
	}
	for _, attribute := range update.SetAttributes {
		attributes[attribute.Name] = attribute.Value
	}
	user.Attributes = sorted(attributes)
	if len(user.Attributes) > store.MaxAttributes {
		return store.User{}, store.ErrTooManyAttributes
	}
	if err := m.taken(user.ID, user.Email, user.ExternalID); err != nil {
		return store.User{}, err
	}
	if diffOf(user, before) == "" {
		return before, nil
	}
	return m.put(user), nil
}

func (m *model) remove(id string, expected int64) (int64, error) {
	user, err := m.byID(id)
	if err != nil {
		return 0, err
	}
	if expected != 0 && expected != user.Version {
		return 0, store.ErrVersionMismatch
	}
	delete(m.users, id)
	m.gone[id] = true
	m.append(store.Change{UserID: id, Version: user.Version + 1, Kind: store.Deleted})
	return user.Version + 1, nil
}

func (m *model) login(id string, at time.Time, resolution time.Duration) (store.User, error) {
	user, err := m.byID(id)
	if err != nil {
		return user, err
	}
	if user.Disabled {
		return store.User{}, store.ErrUserDisabled
	}
	last := user.LastLogin
	if !last.IsZero() && (!at.After(last) || at.Before(last.Add(resolution))) {
		return user, nil
	}
	user.LastLogin = at
	return m.put(user), nil
}

// put keeps the next version of a user. What time it is the store will say.
func (m *model) put(user store.User) store.User {
	user.Version++
	user.UpdatedAt = time.Time{}
	m.users[user.ID] = user
	m.append(store.Change{UserID: user.ID, Version: user.Version, Kind: store.Upserted})
	return user
}

func (m *model) append(change store.Change) { m.log = append(m.log, entry{Change: change}) }

func (m *model) list(query store.Query) []store.User {
	var users []store.User
	for _, user := range m.users {
		if matches(user, query) {
			users = append(users, user)
		}
	}
	slices.SortFunc(users, func(a, b store.User) int { return order(a.Position(), b.Position()) })
	if query.NewestFirst {
		slices.Reverse(users)
	}
	return users[:min(len(users), query.Limit)]
}

func matches(user store.User, query store.Query) bool {
	place := order(user.Position(), query.After)
	if query.NewestFirst && query.After != (store.Position{}) {
		place = -place
	}
	used := user.LastLogin
	if used.IsZero() {
		used = user.CreatedAt
	}
	for _, attribute := range query.Attributes {
		if !slices.Contains(user.Attributes, attribute) {
			return false
		}
	}
	return place > 0 && (query.Disabled == nil || *query.Disabled == user.Disabled) &&
		(query.InactiveSince.IsZero() || used.Before(query.InactiveSince)) &&
		!user.CreatedAt.Before(query.CreatedAfter) &&
		(query.CreatedBefore.IsZero() || user.CreatedAt.Before(query.CreatedBefore)) &&
		strings.HasPrefix(lower(user.Email), lower(query.EmailPrefix)) &&
		strings.Contains(store.FoldName(user.DisplayName), store.FoldName(query.NameContains)) &&
		(query.Role == "" || slices.Contains(user.Roles, query.Role))
}

func order(a, b store.Position) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
}

// kept returns the changes from an entry of the log on that are not removed, and
// whether none is.
func (m *model) kept(from int) ([]store.Change, bool) {
	var changes []store.Change
	for _, entry := range m.log[from:] {
		if !entry.pruned {
			changes = append(changes, entry.Change)
		}
	}
	return changes, len(changes) == len(m.log)-from
}

// sortedAttributes returns attributes as a user has them.
func sortedAttributes(attributes []store.Attribute) []store.Attribute {
	values := make(map[string]string)
	for _, attribute := range attributes {
		values[attribute.Name] = attribute.Value
	}
	return sorted(values)
}

func sorted(values map[string]string) []store.Attribute {
	var attributes []store.Attribute
	for _, name := range slices.Sorted(maps.Keys(values)) {
		attributes = append(attributes, store.Attribute{Name: name, Value: values[name]})
	}
	return attributes
}

func set(items []string) []string {
	seen := make(map[string]bool)
	for _, item := range items {
		seen[item] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// machine runs operations on a store and on its model.
type machine struct {
	model
	ctx     context.Context
	store   store.Store
	ids     []string
	cursors []mark
}

// mark is a cursor and the number of entries of the model's log before it.
type mark struct {
	cursor store.Cursor
	read   int
}

var (
	emails = []string{"ada@example.com", "ADA@example.com", "a_a@example.com", "a%@example.com", "é@example.com", "É@example.com"}
	names  = []string{"Ada", "ada lovelace", "ZOË", "zoë 50%", "a_a"}
	// There are more roles and attributes than a user can have.
	someRoles      = manyRoles(store.MaxRoles + 8)
	someAttributes = manyAttributes(store.MaxAttributes + 8)
	externalIDs    = []string{"", "", "sub|1", "SUB|1", "sub|é", "sub|%"}
)

// newMachine empties a store and starts with an empty model. Ids are new each time.
func newMachine(ctx context.Context, t *rapid.T, s store.Store) *machine {
	users, err := allUsers(ctx, s)
	must(t, err)
	for _, user := range users {
		_, err := s.Delete(ctx, user.ID, 0)
		must(t, err)
	}
	_, err = s.Prune(ctx, farFuture)
	must(t, err)
	head, err := s.Head(ctx)
	must(t, err)
	m := &machine{ctx: ctx, store: s, cursors: []mark{{cursor: head}}}
	m.users, m.gone = make(map[string]store.User), make(map[string]bool)
	for range 6 {
		m.ids = append(m.ids, uuid.NewString())
	}
	return m
}

// check compares all users and the changes since the last check, and takes the times
// over that only the store knows.
func (m *machine) check(t *rapid.T) {
	users, err := allUsers(m.ctx, m.store)
	must(t, err)
	for _, user := range users {
		m.adopt(t, user)
	}
	same(t, users, m.model.list(store.Query{Limit: len(m.users)}))
	last := m.cursors[len(m.cursors)-1]
	changes, next, err := readChanges(m.ctx, m.store, last.cursor, 100)
	must(t, err)
	m.adoptTimes(t, changes, last.read)
	if len(changes) > 0 {
		m.cursors = append(m.cursors, mark{cursor: next, read: len(m.log)})
	}
}

// adopt takes over the times of a user that the model has just changed.
func (m *machine) adopt(t *rapid.T, user store.User) {
	known, ok := m.users[user.ID]
	if !ok || !known.UpdatedAt.IsZero() {
		return
	}
	if known.CreatedAt.IsZero() {
		known.CreatedAt = user.CreatedAt
	}
	if user.UpdatedAt.Before(user.CreatedAt) {
		t.Fatalf("%+v", user)
	}
	known.UpdatedAt = user.UpdatedAt
	m.users[user.ID] = known
}

// adoptTimes checks changes against those of the model's log after the first read
// entries, and takes over their times.
func (m *machine) adoptTimes(t *rapid.T, changes []store.Change, read int) {
	if len(changes) != len(m.log)-read {
		t.Fatalf("%d changes are logged, want %d", len(changes), len(m.log)-read)
	}
	times := make(map[string]time.Time)
	for i, text := range textOf(changes) {
		times[text] = changes[i].At
	}
	for i := range m.log[read:] {
		change := &m.log[read+i].Change
		change.At = times[textOf([]store.Change{*change})[0]]
	}
	sameChanges(t, changes, read, m)
}

// sameChanges compares changes with those of the model's log that are kept, user by
// user: the order between users is the store's.
func sameChanges(t *rapid.T, got []store.Change, from int, m *machine) {
	want, _ := m.kept(from)
	same(t, byUser(got), byUser(want))
}

func byUser(changes []store.Change) map[string][]store.Change {
	users := make(map[string][]store.Change)
	for _, change := range changes {
		users[change.UserID] = append(users[change.UserID], change)
	}
	return users
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *rapid.T, got, want any) {
	if diff := diffOf(got, want); diff != "" {
		t.Fatalf("difference (-want +got):\n%s", diff)
	}
}

// sameErr checks that got is one of the errors of want.
func sameErr(t *rapid.T, got, want error) {
	for _, target := range []error{
		store.ErrNotFound, store.ErrEmailTaken, store.ErrIDTaken, store.ErrVersionMismatch,
		store.ErrTooManyRoles, store.ErrCursorExpired, store.ErrExternalIDTaken, store.ErrTooManyAttributes, store.ErrUserDisabled,
	} {
		if errors.Is(got, target) && errors.Is(want, target) {
			return
		}
	}
	if got != nil || want != nil {
		t.Fatalf("error is %v, want %v", got, want)
	}
}

// sameWritten compares what a write has made of a user. The model had so many rows in its log
// before.
func (m *machine) sameWritten(t *rapid.T, got store.Written, want store.User, logged int) {
	t.Helper()
	same(t, got.Changed, len(m.log) > logged)
	m.sameUser(t, got.User, want)
}

// sameUser compares what became of one user, but for times that only the store knows.
func (m *machine) sameUser(t *rapid.T, got, want store.User) {
	if want.UpdatedAt.IsZero() {
		want.UpdatedAt = got.UpdatedAt
	}
	if want.CreatedAt.IsZero() {
		want.CreatedAt = got.CreatedAt
	}
	same(t, got, want)
}

func (m *machine) drawID(t *rapid.T) string { return rapid.SampledFrom(m.ids).Draw(t, "id") }

func (m *machine) drawNew(t *rapid.T) store.NewUser {
	user := store.NewUser{
		ID:          m.drawID(t),
		Email:       rapid.SampledFrom(emails).Draw(t, "email"),
		DisplayName: rapid.SampledFrom(names).Draw(t, "name"),
		Roles:       drawRoles(t, "roles"),
		Disabled:    rapid.Bool().Draw(t, "disabled"),
		ExternalID:  rapid.SampledFrom(externalIDs).Draw(t, "external id"),
		Attributes:  drawAttributes(t),
	}
	if rapid.Bool().Draw(t, "move") {
		user.CreatedAt, user.LastLogin = drawTime(t, "created at"), drawTime(t, "last login")
	}
	return user
}

func drawAttributes(t *rapid.T) []store.Attribute {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(someAttributes), 0, 24, rapid.ID).Draw(t, "attributes")
}

func drawTime(t *rapid.T, label string) time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(rapid.IntRange(0, 300).Draw(t, label)) * time.Second).UTC()
}

func drawRoles(t *rapid.T, label string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(someRoles), 0, 24, rapid.ID).Draw(t, label)
}

func drawVersion(t *rapid.T) int64 {
	return rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 3}).Draw(t, "expected version")
}

func (m *machine) drawUpdate(t *rapid.T) store.Update {
	update := store.Update{ID: m.drawID(t), ExpectedVersion: drawVersion(t)}
	if rapid.Bool().Draw(t, "rename") {
		update.DisplayName = new(rapid.SampledFrom(names).Draw(t, "name"))
	}
	if rapid.Bool().Draw(t, "change roles") {
		update.AddRoles, update.RemoveRoles = drawRoles(t, "add"), drawRoles(t, "remove")
	}
	if rapid.Bool().Draw(t, "move") {
		update.Email = new(rapid.SampledFrom(emails).Draw(t, "email"))
	}
	if rapid.Bool().Draw(t, "change external id") {
		update.ExternalID = new(rapid.SampledFrom(externalIDs).Draw(t, "external id"))
	}
	if rapid.Bool().Draw(t, "change state") {
		update.Disabled = new(rapid.Bool().Draw(t, "disabled"))
	}
	if rapid.Bool().Draw(t, "change attributes") {
		update.SetAttributes = drawAttributes(t)
		for _, attribute := range drawAttributes(t) {
			update.RemoveAttributes = append(update.RemoveAttributes, attribute.Name)
		}
	}
	return update
}

// draws returns up to six things that f draws.
func draws[T any](t *rapid.T, f func(*rapid.T) T) []T {
	items := make([]T, rapid.IntRange(0, 6).Draw(t, "how many"))
	for i := range items {
		items[i] = f(t)
	}
	return items
}

func (m *machine) create(t *rapid.T) {
	user, logged := m.drawNew(t), len(m.log)
	want, wantErr := m.model.create(user)
	got, err := m.store.Create(m.ctx, user)
	sameErr(t, err, wantErr)
	m.sameWritten(t, got, want, logged)
}

func (m *machine) importSome(t *rapid.T) {
	rows := draws(t, m.drawRow)
	got, err := m.store.Import(m.ctx, rows)
	must(t, err)
	same(t, len(got), len(rows))
	for i, row := range rows {
		want := m.model.importRow(row)
		sameErr(t, got[i].Err, want.Err)
		if want.Err == nil {
			same(t, got[i], want)
		}
	}
}

func (m *machine) drawRow(t *rapid.T) store.NewUser {
	row := m.drawNew(t)
	row.OnConflict = rapid.SampledFrom([]store.OnConflict{
		store.FailOnConflict, store.SkipOnConflict, store.UpdateOnConflict,
	}).Draw(t, "on conflict")
	if rapid.Bool().Draw(t, "no id") {
		row.ID, row.NewID = uuid.NewString(), true
	}
	return row
}

func (m *machine) get(t *rapid.T) {
	id := m.drawID(t)
	want, wantErr := m.byID(id)
	got, err := m.store.Get(m.ctx, id)
	sameErr(t, err, wantErr)
	same(t, got, want)
}

func (m *machine) getMany(t *rapid.T) {
	ids := draws(t, m.drawID)
	var want []store.User
	for _, id := range ids {
		if user, err := m.byID(id); err == nil {
			want = append(want, user)
		}
	}
	got, err := m.store.GetMany(m.ctx, ids)
	must(t, err)
	same(t, got, want)
}

func (m *machine) getByEmail(t *rapid.T) {
	email := rapid.SampledFrom(emails).Draw(t, "email")
	want, wantErr := m.byEmail(email)
	got, err := m.store.GetByEmail(m.ctx, email)
	sameErr(t, err, wantErr)
	same(t, got, want)
}

func (m *machine) getByExternalID(t *rapid.T) {
	externalID := rapid.SampledFrom(externalIDs).Draw(t, "external id")
	want, wantErr := m.byExternalID(externalID)
	got, err := m.store.GetByExternalID(m.ctx, externalID)
	sameErr(t, err, wantErr)
	same(t, got, want)
}

func (m *machine) list(t *rapid.T) {
	query := store.Query{
		Limit:        rapid.IntRange(1, 7).Draw(t, "limit"),
		EmailPrefix:  rapid.SampledFrom([]string{"", "a", "A_", "a%", "É", "%"}).Draw(t, "start of the email"),
		NameContains: rapid.SampledFrom([]string{"", "A", "ë", "%", "_"}).Draw(t, "part of the name"),
		Role:         rapid.SampledFrom([]string{"", someRoles[0], someRoles[1]}).Draw(t, "role"),
		NewestFirst:  rapid.Bool().Draw(t, "newest first"),
	}
	if rapid.Bool().Draw(t, "more filters") {
		query.Disabled = rapid.SampledFrom([]*bool{nil, new(true), new(false)}).Draw(t, "disabled")
		query.Attributes = rapid.SliceOfNDistinct(rapid.SampledFrom(someAttributes[:3]), 0, 2, rapid.ID).Draw(t, "attributes")
		query.InactiveSince = rapid.SampledFrom([]time.Time{{}, drawTime(t, "inactive"), farFuture}).Draw(t, "inactive since")
		query.CreatedAfter = rapid.SampledFrom([]time.Time{{}, drawTime(t, "after")}).Draw(t, "created after")
		query.CreatedBefore = rapid.SampledFrom([]time.Time{{}, drawTime(t, "before"), farFuture}).Draw(t, "created before")
	}
	if user, err := m.byID(m.drawID(t)); err == nil {
		query.After = user.Position()
	}
	got, err := m.store.List(m.ctx, query)
	must(t, err)
	same(t, got.Users, m.model.list(query))
}

func (m *machine) update(t *rapid.T) {
	update, logged := m.drawUpdate(t), len(m.log)
	want, wantErr := m.model.update(update)
	got, err := m.store.Update(m.ctx, update)
	sameErr(t, err, wantErr)
	m.sameWritten(t, got, want, logged)
}

func (m *machine) updateMany(t *rapid.T) {
	updates := draws(t, m.drawUpdate)
	got, err := m.store.UpdateMany(m.ctx, updates)
	must(t, err)
	same(t, len(got), len(updates))
	for i, update := range updates {
		logged := len(m.log)
		want, wantErr := m.model.update(update)
		sameErr(t, got[i].Err, wantErr)
		m.sameWritten(t, got[i].Written, want, logged)
	}
}

func (m *machine) remove(t *rapid.T) {
	id, expected := m.drawID(t), drawVersion(t)
	want, wantErr := m.model.remove(id, expected)
	got, err := m.store.Delete(m.ctx, id, expected)
	sameErr(t, err, wantErr)
	same(t, got, want)
}

func (m *machine) login(t *rapid.T) {
	id := m.drawID(t)
	at := drawTime(t, "at")
	resolution := rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "resolution")
	logged := len(m.log)
	want, wantErr := m.model.login(id, at, resolution)
	got, err := m.store.RecordLogin(m.ctx, id, at, resolution)
	sameErr(t, err, wantErr)
	m.sameWritten(t, got, want, logged)
}

func (m *machine) changes(t *rapid.T) {
	from := rapid.SampledFrom(m.cursors).Draw(t, "cursor")
	if rapid.Bool().Draw(t, "from the earliest") {
		from = mark{cursor: store.Earliest}
	}
	limit := rapid.IntRange(1, 10).Draw(t, "limit")
	var wantErr error
	if _, all := m.kept(from.read); !all && from.cursor != store.Earliest {
		wantErr = store.ErrCursorExpired
	}
	got, end, err := readChanges(m.ctx, m.store, from.cursor, limit)
	sameErr(t, err, wantErr)
	if err != nil {
		return
	}
	sameChanges(t, got, from.read, m)
	for _, mark := range m.cursors {
		if !m.store.Covers(end, mark.cursor) {
			t.Fatalf("%s, the end, does not cover %s", end, mark.cursor)
		}
	}
}

func (m *machine) prune(t *rapid.T) {
	if len(m.log) == 0 {
		t.Skip("nothing to prune")
	}
	before := rapid.SampledFrom(m.log).Draw(t, "before").At
	var want int64
	for i := range m.log {
		if entry := &m.log[i]; !entry.pruned && entry.At.Before(before) {
			entry.pruned = true
			want++
		}
	}
	got, err := m.store.Prune(m.ctx, before)
	must(t, err)
	same(t, got, want)
}

// String keeps what rapid prints of a mark readable.
func (m mark) String() string { return fmt.Sprintf("%s after %d changes", m.cursor, m.read) }
