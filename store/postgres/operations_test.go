package postgres_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
)

// strangeUser returns a user to create, with texts that are easily taken for something
// else, and with times of before time zones.
func strangeUser() store.NewUser {
	id := newUser().ID
	return store.NewUser{
		ID: id, Email: id + `'\"@İstanbul.example`, DisplayName: `Zoë \'日本' \x5c \\000 $1 %_ {NULL,"É"} É'`,
		Roles:      []string{"null", "NULL", `back\slash`, `quo"te`, `it's`, `{a,b}`, "comma, blank", " ", `\x00`, "admin"},
		ExternalID: id + `|\x27 ' NULL`,
		Attributes: []store.Attribute{
			{Name: `back\slash "quoted" 'single'`, Value: "\x01\x1f\x7f\t\n" + `\u0000 \x6162 \\`}, {Name: "null", Value: "NULL"}, {Name: "日本", Value: ""},
		},
		CreatedAt: time.Date(1789, 7, 14, 17, 0, 0, 123457000, time.UTC),
		LastLogin: time.Date(1883, 11, 18, 12, 3, 58, 1000, time.UTC),
	}
}

// checkUsers has a store do everything that it can, and looks whether users are as they
// should be.
func checkUsers(t *testing.T, s *postgres.Store) {
	t.Helper()
	checkLoad(t, s)
	head := mustHead(t, s)
	user := checkCreate(t, s)
	checkFound(t, s, user)
	user = checkUpdates(t, s, user)
	user = checkLogin(t, s, user)
	checkFound(t, s, user)
	user = checkImports(t, s, user)
	checkFound(t, s, user)
	checkDelete(t, s, user)
	checkLog(t, s, head, user)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
}

// checkLoad loads a copy of a user, where there are none.
func checkLoad(t *testing.T, s *postgres.Store) {
	t.Helper()
	ctx := t.Context()
	before, err := s.Contents(ctx)
	if err != nil {
		t.Errorf("contents: %v", err)
		return
	}
	user := strangeUser().At(time.Date(2026, 3, 14, 9, 26, 53, 589793000, time.UTC))
	deleted := store.DeletedUser{ID: newUser().ID, Version: 7, DeletedAt: user.UpdatedAt}
	err = s.Load(ctx, store.Load{CopyOf: `a\b`, Users: []store.User{user}, Deleted: []store.DeletedUser{deleted}})
	if before.Users+before.Deleted > 0 {
		if !errors.Is(err, store.ErrNotEmpty) {
			t.Errorf("load beside other users: %v", err)
		}
		return
	}
	unfinished, unfinishedErr := s.Unfinished(ctx)
	lastErr := s.Load(ctx, store.Load{CopyOf: `a\b`, Last: true})
	list, listErr := s.ListDeleted(ctx, "", 10)
	_, nextErr := s.ListDeleted(ctx, deleted.ID, 10)
	contents, contentsErr := s.Contents(ctx)
	if err := errors.Join(err, unfinishedErr, lastErr, listErr, nextErr, contentsErr); err != nil || !unfinished {
		t.Errorf("load: %v, unfinished is %t", err, unfinished)
	}
	want := store.Contents{Users: 1, Deleted: 1, Last: user.Position(), LastDeleted: deleted.ID}
	if contents != want || !slices.Equal(list, []store.DeletedUser{deleted}) {
		t.Errorf("contents are %+v with %+v, want %+v with %+v", contents, list, want, deleted)
	}
	got, err := s.Get(ctx, user.ID)
	wantUser(t, "load", got, err, user)
}

func wantUser(t *testing.T, what string, got store.User, err error, want store.User) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: user is\n%+v, error %v, want\n%+v", what, got, err, want)
	}
}

func checkCreate(t *testing.T, s *postgres.Store) store.User {
	t.Helper()
	user := strangeUser()
	created, err := s.Create(t.Context(), user)
	wantUser(t, "create", created.User, err, user.At(created.UpdatedAt))
	again, err := s.Create(t.Context(), user)
	wantUser(t, "create again", again.User, err, created.User)
	taken := newUser()
	taken.Email = strings.ToUpper(user.Email[:36]) + user.Email[36:]
	if _, err := s.Create(t.Context(), taken); !errors.Is(err, store.ErrEmailTaken) {
		t.Errorf("create of a taken email: %v", err)
	}
	taken.Email, taken.ExternalID = taken.ID, user.ExternalID
	if _, err := s.Create(t.Context(), taken); !errors.Is(err, store.ErrExternalIDTaken) {
		t.Errorf("create of a taken external id: %v", err)
	}
	return created.User
}

// checkFound looks for a user in every way.
func checkFound(t *testing.T, s *postgres.Store, user store.User) {
	t.Helper()
	ctx := t.Context()
	got, err := s.Get(ctx, user.ID)
	wantUser(t, "get", got, err, user)
	got, err = s.GetByEmail(ctx, strings.ToUpper(user.Email[:36])+user.Email[36:])
	wantUser(t, "get by email", got, err, user)
	got, err = s.GetByExternalID(ctx, user.ExternalID)
	wantUser(t, "get by external id", got, err, user)
	many, err := s.GetMany(ctx, []string{newUser().ID, user.ID, user.ID})
	if err != nil || len(many) != 2 || !reflect.DeepEqual(many[0], user) || !reflect.DeepEqual(many[1], user) {
		t.Errorf("get many: %+v, %v", many, err)
	}
	prefix := strings.ToUpper(user.Email[:36]) + user.Email[36:45]
	for _, query := range []store.Query{
		{EmailPrefix: prefix},
		{EmailPrefix: prefix, NameContains: strings.ToUpper(user.DisplayName[:16])},
		{EmailPrefix: prefix, Role: user.Roles[2], Attributes: user.Attributes[:2], Disabled: new(user.Disabled)},
		{EmailPrefix: prefix, InactiveSince: user.LastLogin.Add(time.Microsecond), NewestFirst: true},
		{EmailPrefix: prefix, CreatedAfter: user.CreatedAt, CreatedBefore: user.CreatedAt.Add(time.Microsecond)},
		{EmailPrefix: prefix, After: store.Position{CreatedAt: user.CreatedAt.Add(-time.Microsecond), ID: user.ID}},
	} {
		query.Limit = 10
		if found := listAll(t, s, query); len(found) != 1 || !reflect.DeepEqual(found[0], user) {
			t.Errorf("%+v finds %+v, want %+v", query, found, user)
		}
	}
	s.SearchWithoutLimit()
	byContent := store.Query{NameContains: user.DisplayName, Role: user.Roles[2], Attributes: user.Attributes, Limit: 1000}
	if found := listAll(t, s, byContent); !slices.ContainsFunc(found, func(u store.User) bool { return u.ID == user.ID }) {
		t.Errorf("%+v finds %d users, without %s", byContent, len(found), user.ID)
	}
}

func listAll(t *testing.T, s *postgres.Store, query store.Query) (users []store.User) {
	t.Helper()
	for {
		page, err := s.List(t.Context(), query)
		if err != nil {
			t.Errorf("%+v: %v", query, err)
			return nil
		}
		if users = append(users, page.Users...); page.Next == (store.Position{}) {
			return users
		}
		query.After = page.Next
	}
}

// checkUpdates updates a user alone and with another one, to whom its email goes.
func checkUpdates(t *testing.T, s *postgres.Store, user store.User) store.User {
	t.Helper()
	ctx := t.Context()
	name := `ÉCLAIR İ \ ' "`
	updated, err := s.Update(ctx, store.Update{
		ID: user.ID, DisplayName: &name, Disabled: new(true), AddRoles: []string{"null", `new\'`, "NULL "}, RemoveRoles: []string{"NULL", "nobody"},
	})
	want := user
	want.DisplayName, want.Disabled, want.Version, want.UpdatedAt = name, true, 2, updated.UpdatedAt
	want.Roles = store.SortedRoles(append(slices.DeleteFunc(slices.Clone(user.Roles), func(role string) bool { return role == "NULL" }), `new\'`, "NULL "))
	wantUser(t, "update", updated.User, err, want)
	if _, err := s.RecordLogin(ctx, user.ID, user.UpdatedAt, 0); !errors.Is(err, store.ErrUserDisabled) {
		t.Errorf("login of a disabled user: %v", err)
	}
	other, err := s.Create(ctx, newUser())
	if err != nil {
		t.Errorf("create: %v", err)
	}
	email, external := newUser().ID+user.Email[36:], newUser().ID+user.ExternalID[36:]
	both, err := s.UpdateMany(ctx, []store.Update{
		{
			ID: user.ID, Email: &email, ExternalID: &external, Disabled: new(false), AddRoles: []string{`comma,`, `"`},
			SetAttributes: []store.Attribute{{Name: `\`, Value: `'"`}}, RemoveAttributes: []string{"日本"},
		},
		{ID: other.ID, Email: &user.Email, ExternalID: &user.ExternalID},
		{ID: newUser().ID, Disabled: new(true)},
	})
	if err != nil || len(both) != 3 || both[0].Err != nil || both[1].Err != nil || !errors.Is(both[2].Err, store.ErrNotFound) {
		t.Errorf("update many: %+v, %v", both, err)
		return want
	}
	want.Email, want.ExternalID, want.Disabled, want.Version, want.UpdatedAt = email, external, false, 3, both[0].UpdatedAt
	want.Roles = store.SortedRoles(append(want.Roles, `comma,`, `"`))
	want.Attributes = store.SortedAttributes(append(slices.DeleteFunc(slices.Clone(want.Attributes),
		func(a store.Attribute) bool { return a.Name == "日本" }), store.Attribute{Name: `\`, Value: `'"`}))
	wantUser(t, "update many", both[0].User, nil, want)
	return want
}

func checkLogin(t *testing.T, s *postgres.Store, user store.User) store.User {
	t.Helper()
	at := user.UpdatedAt.Add(-time.Minute)
	logged, err := s.RecordLogin(t.Context(), user.ID, at, 90*time.Minute)
	want := user
	want.LastLogin, want.Version, want.UpdatedAt = at, user.Version+1, logged.UpdatedAt
	wantUser(t, "login", logged.User, err, want)
	again, err := s.RecordLogin(t.Context(), user.ID, at.Add(time.Minute), 90*time.Minute)
	wantUser(t, "login soon after", again.User, err, want)
	return want
}

// checkImports imports users, then the same and a user who is there.
func checkImports(t *testing.T, s *postgres.Store, user store.User) store.User {
	t.Helper()
	ctx := t.Context()
	rows := []store.NewUser{strangeUser()}
	for range 600 { // So many that a search needs more than its first look.
		rows = append(rows, newUser())
	}
	row := strangeUser()
	row.Email, row.ExternalID, row.NewID, row.OnConflict = user.Email, user.ExternalID, true, store.UpdateOnConflict
	row.LastLogin = time.Time{}
	for _, rows := range [][]store.NewUser{rows, rows, append(rows, row)} {
		results, err := s.Import(ctx, rows)
		if err != nil || len(results) != len(rows) {
			t.Errorf("import: %+v, %v", results, err)
		}
		for i, result := range results {
			if result.Err != nil {
				t.Errorf("row %d: %v", i, result.Err)
			}
		}
	}
	got, err := s.Get(ctx, rows[0].ID)
	wantUser(t, "import", got, err, rows[0].At(got.UpdatedAt))
	want := row.At(user.CreatedAt)
	want.ID, want.CreatedAt, want.LastLogin, want.Version = user.ID, user.CreatedAt, user.LastLogin, user.Version+1
	got, err = s.Get(ctx, user.ID)
	want.UpdatedAt = got.UpdatedAt
	wantUser(t, "import of a user who is there", got, err, want)
	return want
}

func checkDelete(t *testing.T, s *postgres.Store, user store.User) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.Delete(ctx, user.ID, 1); !errors.Is(err, store.ErrVersionMismatch) {
		t.Errorf("delete of another version: %v", err)
	}
	if version, err := s.Delete(ctx, user.ID, user.Version); err != nil || version != user.Version+1 {
		t.Errorf("deletion is version %d, %v", version, err)
	}
	again := newUser()
	again.ID = user.ID
	if _, err := s.Create(ctx, again); !errors.Is(err, store.ErrIDTaken) {
		t.Errorf("create of a deleted id: %v", err)
	}
	if rows, err := s.Import(ctx, []store.NewUser{again}); err != nil || !errors.Is(rows[0].Err, store.ErrIDTaken) {
		t.Errorf("import of a deleted id: %+v, %v", rows, err)
	}
}

// checkLog reads the changes after a cursor, which are those of a user who had each version
// up to its deletion, and of others.
func checkLog(t *testing.T, s *postgres.Store, from store.Cursor, user store.User) {
	t.Helper()
	ctx := t.Context()
	changes, last := readAll(t, s, from, 100)
	changes = slices.DeleteFunc(changes, func(change store.Change) bool { return change.UserID != user.ID })
	if read := names(changes, user.ID); read != "0:1 0:2 0:3 0:4 0:5 0:6" || !changes[4].At.Equal(user.UpdatedAt) || changes[5].Kind != store.Deleted {
		t.Errorf("changes are %+v", changes)
	}
	since, atErr := s.At(ctx, user.UpdatedAt)
	span, spanErr := s.Span(ctx)
	_, pruneErr := s.Prune(ctx, span.Oldest.Add(-time.Hour))
	waits, cancel := context.WithCancel(ctx)
	cancel()
	waitErr := s.Wait(waits, last)
	if err := errors.Join(atErr, spanErr, pruneErr); err != nil || !errors.Is(waitErr, context.Canceled) ||
		!s.Covers(last, since) || user.UpdatedAt.Before(span.Oldest) || user.UpdatedAt.After(span.Newest) {
		t.Errorf("log: %v, waited until %v; since is %s, last %s, span %+v", err, waitErr, since, last, span)
	}
}
