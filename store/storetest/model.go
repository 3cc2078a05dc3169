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
			"":           m.check,
			"Create":     m.create,
			"Import":     m.importSome,
			"Get":        m.get,
			"GetMany":    m.getMany,
			"GetByEmail": m.getByEmail,
			"List":       m.list,
			"Update":     m.update,
			"UpdateMany": m.updateMany,
			"Delete":     m.remove,
			"Login":      m.login,
			"Changes":    m.changes,
			"Prune":      m.prune,
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

func (m *model) byID(id string) (store.User, error) {
	if user, ok := m.users[id]; ok {
		return user, nil
	}
	return store.User{}, store.ErrNotFound
}

// create returns both errors where both are right.
func (m *model) create(user store.NewUser) (store.User, error) {
	sameID, err := m.byID(user.ID)
	if err == nil && lower(sameID.Email) == lower(user.Email) {
		return sameID, nil
	}
	var errs []error
	if err == nil || m.gone[user.ID] {
		errs = append(errs, store.ErrIDTaken)
	}
	if _, err := m.byEmail(user.Email); err == nil {
		errs = append(errs, store.ErrEmailTaken)
	}
	if len(errs) > 0 {
		return store.User{}, errors.Join(errs...)
	}
	return m.put(store.User{
		ID: user.ID, Email: user.Email, DisplayName: user.DisplayName, Roles: set(user.Roles),
	}), nil
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
	if update.DisplayName != nil {
		user.DisplayName = *update.DisplayName
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
	if user.DisplayName == before.DisplayName && slices.Equal(user.Roles, before.Roles) {
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
	return users[:min(len(users), query.Limit)]
}

func matches(user store.User, query store.Query) bool {
	return order(user.Position(), query.After) > 0 &&
		strings.HasPrefix(lower(user.Email), lower(query.EmailPrefix)) &&
		strings.Contains(strings.ToLower(user.DisplayName), strings.ToLower(query.NameContains)) &&
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
	// There are more roles than a user can have.
	someRoles = manyRoles(store.MaxRoles + 8)
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
		store.ErrTooManyRoles, store.ErrCursorExpired,
	} {
		if errors.Is(got, target) && errors.Is(want, target) {
			return
		}
	}
	if got != nil || want != nil {
		t.Fatalf("error is %v, want %v", got, want)
	}
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
	return store.NewUser{
		ID:          m.drawID(t),
		Email:       rapid.SampledFrom(emails).Draw(t, "email"),
		DisplayName: rapid.SampledFrom(names).Draw(t, "name"),
		Roles:       drawRoles(t, "roles"),
	}
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
	user := m.drawNew(t)
	want, wantErr := m.model.create(user)
	got, err := m.store.Create(m.ctx, user)
	sameErr(t, err, wantErr)
	m.sameUser(t, got, want)
}

func (m *machine) importSome(t *rapid.T) {
	users := draws(t, m.drawNew)
	got, err := m.store.Import(m.ctx, users)
	must(t, err)
	same(t, len(got), len(users))
	for i, user := range users {
		want, wantErr := m.model.create(user)
		sameErr(t, got[i].Err, wantErr)
		if wantErr == nil {
			same(t, got[i].ID, want.ID)
		}
	}
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

func (m *machine) list(t *rapid.T) {
	query := store.Query{
		Limit:        rapid.IntRange(1, 7).Draw(t, "limit"),
		EmailPrefix:  rapid.SampledFrom([]string{"", "a", "A_", "a%", "É", "%"}).Draw(t, "start of the email"),
		NameContains: rapid.SampledFrom([]string{"", "A", "ë", "%", "_"}).Draw(t, "part of the name"),
		Role:         rapid.SampledFrom([]string{"", someRoles[0], someRoles[1]}).Draw(t, "role"),
	}
	if user, err := m.byID(m.drawID(t)); err == nil {
		query.After = user.Position()
	}
	got, err := m.store.List(m.ctx, query)
	must(t, err)
	same(t, got, m.model.list(query))
}

func (m *machine) update(t *rapid.T) {
	update := m.drawUpdate(t)
	want, wantErr := m.model.update(update)
	got, err := m.store.Update(m.ctx, update)
	sameErr(t, err, wantErr)
	m.sameUser(t, got, want)
}

func (m *machine) updateMany(t *rapid.T) {
	updates := draws(t, m.drawUpdate)
	got, err := m.store.UpdateMany(m.ctx, updates)
	must(t, err)
	same(t, len(got), len(updates))
	for i, update := range updates {
		want, wantErr := m.model.update(update)
		sameErr(t, got[i].Err, wantErr)
		m.sameUser(t, got[i].User, want)
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
	at := time.Unix(1_700_000_000, 0).Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "second")) * time.Second).UTC()
	resolution := rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "resolution")
	want, wantErr := m.model.login(id, at, resolution)
	got, err := m.store.RecordLogin(m.ctx, id, at, resolution)
	sameErr(t, err, wantErr)
	m.sameUser(t, got, want)
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
