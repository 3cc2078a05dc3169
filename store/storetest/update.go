package storetest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/store"
)

var updateSentences = []sentence{
	{"changes a user and returns it as it is then", func(b *bundle) {
		user := b.create(newUser("reader"))
		updated := b.update(store.Update{ID: user.ID, DisplayName: new("Lovelace"), AddRoles: []string{"admin"}})
		if updated.UpdatedAt.Before(user.UpdatedAt) {
			b.Errorf("updated at %v, created at %v", updated.UpdatedAt, user.CreatedAt)
		}
		want := user
		want.DisplayName, want.Roles, want.Version = "Lovelace", []string{"admin", "reader"}, 2
		want.UpdatedAt = updated.UpdatedAt
		b.same(updated, want)
		b.same(b.get(user.ID), want)
	}},
	{"changes nobody else", func(b *bundle) {
		user, other := b.create(newUser("reader")), b.create(newUser("reader"))
		b.update(store.Update{ID: user.ID, DisplayName: new("Lovelace"), RemoveRoles: []string{"reader"}})
		b.same(b.get(other.ID), other)
		b.same(b.list(store.Query{Role: "reader"}), []string{other.ID})
	}},
	{"logs one change with the new version", func(b *bundle) {
		user := b.create(newUser())
		head := b.head()
		b.update(store.Update{ID: user.ID, DisplayName: new("Lovelace"), AddRoles: []string{"a", "b"}})
		b.update(store.Update{ID: user.ID, DisplayName: new("Ada")})
		b.same(b.logged(head), []string{upserted(user.ID, 2), upserted(user.ID, 3)})
	}},
	{"what is nil stays as it is", func(b *bundle) {
		user := b.create(newUser("reader"))
		updated := b.update(store.Update{ID: user.ID, AddRoles: []string{"admin"}})
		b.same(updated.DisplayName, user.DisplayName)
		updated = b.update(store.Update{ID: user.ID, DisplayName: new("Lovelace")})
		b.same(updated.Roles, []string{"admin", "reader"})
	}},
	{"roles are a set", func(b *bundle) {
		user := b.create(newUser("c", "a"))
		updated := b.update(store.Update{ID: user.ID, AddRoles: []string{"d", "b", "d", "a"}})
		b.same(updated.Roles, []string{"a", "b", "c", "d"})
		updated = b.update(store.Update{ID: user.ID, RemoveRoles: []string{"c", "x", "a", "c"}, AddRoles: []string{"e"}})
		b.same(updated.Roles, []string{"b", "d", "e"})
		b.same(b.get(user.ID), updated)
	}},
	{"a role that is removed and added is there", func(b *bundle) {
		user := b.create(newUser("a"))
		update := store.Update{ID: user.ID, AddRoles: []string{"a", "b"}, RemoveRoles: []string{"a", "b"}}
		b.same(b.update(update).Roles, []string{"a", "b"})
	}},
	{"without its last role a user has none", func(b *bundle) {
		user := b.create(newUser("admin"))
		updated := b.update(store.Update{ID: user.ID, RemoveRoles: []string{"admin"}})
		if got := b.get(user.ID); updated.Roles != nil || got.Roles != nil {
			b.Errorf("roles are %#v and %#v", updated.Roles, got.Roles)
		}
	}},
	{"ErrNotFound", func(b *bundle) {
		gone := b.create(newUser())
		b.remove(gone.ID)
		head := b.head()
		for _, id := range []string{uuid.NewString(), gone.ID} {
			for version := range int64(3) {
				_, err := b.Update(b.Context(), store.Update{ID: id, DisplayName: new("x"), ExpectedVersion: version})
				b.wantErr(err, store.ErrNotFound)
			}
		}
		b.same(b.logged(head), []string(nil))
	}},
	{"ErrVersionMismatch when the user is not at the expected version", func(b *bundle) {
		user := b.create(newUser())
		user = b.update(store.Update{ID: user.ID, DisplayName: new("two"), ExpectedVersion: 1})
		head := b.head()
		for _, version := range []int64{1, 3, 1 << 40} {
			_, err := b.Update(b.Context(), store.Update{ID: user.ID, DisplayName: new("x"), ExpectedVersion: version})
			b.wantErr(err, store.ErrVersionMismatch)
		}
		b.wantUnchanged(user, head)
	}},
	{"ErrVersionMismatch for an update that changes nothing too", func(b *bundle) {
		user := b.create(newUser())
		_, err := b.Update(b.Context(), store.Update{ID: user.ID, ExpectedVersion: 2})
		b.wantErr(err, store.ErrVersionMismatch)
	}},
	{"ErrTooManyRoles when the user would have more than MaxRoles", func(b *bundle) {
		user := b.create(newUser(manyRoles(store.MaxRoles)...))
		head := b.head()
		_, err := b.Update(b.Context(), store.Update{ID: user.ID, AddRoles: []string{"more"}, DisplayName: new("x")})
		b.wantErr(err, store.ErrTooManyRoles)
		b.wantUnchanged(user, head)
		b.same(b.list(store.Query{Role: "more"}), []string(nil))
	}},
	{"MaxRoles counts the roles that are left", func(b *bundle) {
		roles := manyRoles(store.MaxRoles)
		user := b.create(newUser(roles...))
		updated := b.update(store.Update{ID: user.ID, AddRoles: []string{"zzz", roles[1]}, RemoveRoles: roles[:1]})
		b.same(updated.Roles, slices.Concat(roles[1:], []string{"zzz"}))
	}},
	{"changes email, state, external id and attributes", func(b *bundle) {
		full := fullUser()
		user := b.create(full)
		update := store.Update{
			ID: user.ID, Email: new("New@Example.com"), Disabled: new(false), ExternalID: new("sub|new"),
			SetAttributes:    []store.Attribute{{Name: "tenant", Value: "green"}, {Name: "a", Value: "b"}},
			RemoveAttributes: []string{"locale", "other"},
		}
		head := b.head()
		updated := b.update(update)
		want := user
		want.Email, want.Disabled, want.ExternalID, want.Version = "New@Example.com", false, "sub|new", 2
		want.Attributes = []store.Attribute{{Name: "a", Value: "b"}, {Name: "tenant", Value: "green"}}
		want.UpdatedAt = updated.UpdatedAt
		b.same(updated, want)
		b.same(b.get(user.ID), want)
		b.same(b.logged(head), []string{upserted(user.ID, 2)})
		head = b.head()
		b.same(b.update(update), want)
		b.same(b.update(store.Update{ID: user.ID, Disabled: new(false)}), want)
		b.wantUnchanged(want, head)
		b.same(b.update(store.Update{ID: user.ID, Disabled: new(true)}).Disabled, true)
		b.same(b.get(user.ID).Disabled, true)
	}},
	{"leaves what it does not name", func(b *bundle) {
		user := b.create(fullUser())
		for _, update := range []store.Update{
			{DisplayName: new("Lovelace")},
			{Email: new("new@example.com")},
			{ExternalID: new("sub|new")},
			{SetAttributes: []store.Attribute{{Name: "a", Value: "b"}}},
			{AddRoles: []string{"a"}},
			{Disabled: new(false)},
		} {
			update.ID = user.ID
			want, _, err := user.Apply(update)
			b.must(err)
			got := b.update(update)
			want.Version, want.UpdatedAt = user.Version+1, got.UpdatedAt
			b.same(got, want)
			b.same(b.get(user.ID), want)
			user = got
		}
	}},
	{"the user is found by the new email and the new external id alone", func(b *bundle) {
		user := b.create(fullUser())
		updated := b.update(store.Update{ID: user.ID, Email: new("new@example.com"), ExternalID: new("sub|new")})
		b.same(b.byEmail("NEW@example.com"), updated)
		b.same(b.byExternalID("sub|new"), updated)
		b.same(b.list(store.Query{EmailPrefix: "new@"}), []string{user.ID})
		_, err := b.GetByEmail(b.Context(), user.Email)
		b.wantErr(err, store.ErrNotFound)
		_, err = b.GetByExternalID(b.Context(), user.ExternalID)
		b.wantErr(err, store.ErrNotFound)
	}},
	{"ErrEmailTaken without regard to ASCII case", func(b *bundle) {
		user, other := b.create(fullUser()), b.create(withEmail("ada@example.com"))
		head := b.head()
		_, err := b.Update(b.Context(), store.Update{ID: user.ID, Email: new("ADA@example.com"), DisplayName: new("x")})
		b.wantErr(err, store.ErrEmailTaken)
		b.wantUnchanged(user, head)
		b.same(b.byEmail("ada@example.com"), other)
	}},
	{"a user can have its own email in another case", func(b *bundle) {
		user := b.create(withEmail("ada@example.com"))
		updated := b.update(store.Update{ID: user.ID, Email: new("Ada@Example.com")})
		b.same([]any{updated.Email, updated.Version}, []any{"Ada@Example.com", int64(2)})
		b.same(b.byEmail("ada@example.com"), updated)
	}},
	{"ErrExternalIDTaken", func(b *bundle) {
		user := b.create(fullUser())
		b.create(withExternalID("sub|1"))
		head := b.head()
		_, err := b.Update(b.Context(), store.Update{ID: user.ID, ExternalID: new("sub|1"), DisplayName: new("x")})
		b.wantErr(err, store.ErrExternalIDTaken)
		b.wantUnchanged(user, head)
	}},
	{"ErrVersionMismatch before what is taken", func(b *bundle) {
		user := b.create(newUser())
		b.create(withEmail("ada@example.com"))
		_, err := b.Update(b.Context(), store.Update{ID: user.ID, Email: new("ada@example.com"), ExpectedVersion: 2})
		b.wantErr(err, store.ErrVersionMismatch)
	}},
	{"an empty external id removes it, from as many as like", func(b *bundle) {
		for range 2 {
			user := b.create(fullUser())
			updated := b.update(store.Update{ID: user.ID, ExternalID: new("")})
			b.same([]any{updated.ExternalID, updated.Version}, []any{"", int64(2)})
			b.same(b.get(user.ID), updated)
			_, err := b.GetByExternalID(b.Context(), user.ExternalID)
			b.wantErr(err, store.ErrNotFound)
		}
	}},
	{"what a user had before others can have", func(b *bundle) {
		user, other := b.create(withEmail("ada@example.com")), b.create(withExternalID("sub|1"))
		b.update(store.Update{ID: user.ID, Email: new("lovelace@example.com")})
		b.update(store.Update{ID: other.ID, ExternalID: new("sub|2"), Email: new("ADA@example.com")})
		b.same(b.byEmail("ada@example.com").ID, other.ID)
		b.create(withExternalID("sub|1"))
		b.same(b.update(store.Update{ID: user.ID, Email: new("grace@example.com")}).Version, int64(3))
		b.create(withEmail("lovelace@example.com"))
	}},
	{"an attribute that is removed and set is there", func(b *bundle) {
		user := b.create(fullUser())
		updated := b.update(store.Update{
			ID: user.ID, SetAttributes: []store.Attribute{{Name: "tenant", Value: "red"}}, RemoveAttributes: []string{"tenant"},
		})
		b.same(updated.Attributes, []store.Attribute{{Name: "locale", Value: "de-CH"}, {Name: "tenant", Value: "red"}})
	}},
	{"without its last attribute a user has none", func(b *bundle) {
		user := b.create(fullUser())
		updated := b.update(store.Update{ID: user.ID, RemoveAttributes: []string{"tenant", "locale"}})
		if got := b.get(user.ID); updated.Attributes != nil || got.Attributes != nil {
			b.Errorf("attributes are %#v and %#v", updated.Attributes, got.Attributes)
		}
	}},
	{"ErrTooManyAttributes when the user would have more than it can", func(b *bundle) {
		many, long := newUser(), newUser()
		many.Attributes = manyAttributes(store.MaxAttributes)
		for i := range 8 {
			long.Attributes = append(long.Attributes, store.Attribute{Name: string(rune('a' + i)), Value: strings.Repeat("x", 1000)})
		}
		for _, user := range []store.User{b.create(many), b.create(long)} {
			head := b.head()
			_, err := b.Update(b.Context(), store.Update{ID: user.ID, DisplayName: new("x"), SetAttributes: []store.Attribute{
				{Name: "more", Value: strings.Repeat("x", 1000)},
			}})
			b.wantErr(err, store.ErrTooManyAttributes)
			b.wantUnchanged(user, head)
			b.update(store.Update{
				ID: user.ID, SetAttributes: []store.Attribute{{Name: "more"}}, RemoveAttributes: []string{user.Attributes[0].Name},
			})
		}
	}},
	{"an update that changes nothing returns the user as it is", func(b *bundle) {
		user := b.create(newUser("reader"))
		head := b.head()
		for _, update := range []store.Update{
			{},
			{DisplayName: &user.DisplayName},
			{AddRoles: []string{"reader"}},
			{RemoveRoles: []string{"admin"}},
			{DisplayName: &user.DisplayName, AddRoles: []string{"reader"}, RemoveRoles: []string{"reader"}, ExpectedVersion: 1},
		} {
			update.ID = user.ID
			updated, err := b.Update(b.Context(), update)
			b.must(err)
			b.same(updated, store.Written{User: user})
		}
		b.wantUnchanged(user, head)
	}},
	{"an update that changes something says so", func(b *bundle) {
		user := b.create(newUser())
		for i, update := range []store.Update{{DisplayName: new("Zoë")}, {ExternalID: new("sub|1")}, {AddRoles: []string{"reader"}}} {
			update.ID = user.ID
			updated, err := b.Update(b.Context(), update)
			b.must(err)
			b.same(updated, store.Written{User: b.get(user.ID), Changed: true})
			b.same(updated.Version, int64(i+2))
		}
	}},
}

var updateManySentences = []sentence{
	{"applies updates in order and says for each what became of it", func(b *bundle) {
		first, second := b.create(newUser()), b.create(newUser("reader"))
		head := b.head()
		got := b.updateMany(
			store.Update{ID: first.ID, DisplayName: new("one")},
			store.Update{ID: second.ID, RemoveRoles: []string{"reader"}},
			store.Update{ID: first.ID, AddRoles: []string{"admin"}, ExpectedVersion: 2},
			store.Update{ID: second.ID, AddRoles: []string{"reader"}},
		)
		b.same(got[0].User.DisplayName, "one")
		b.same(got[2].User, b.get(first.ID))
		b.same(got[2].User.Roles, []string{"admin"})
		b.same(got[3].User, b.get(second.ID))
		var versions []int64
		for _, outcome := range got {
			versions = append(versions, outcome.User.Version)
		}
		b.same(versions, []int64{2, 2, 3, 3})
		b.same(b.list(store.Query{Role: "reader"}), []string{second.ID})
		b.sameByUser(head, map[string][]string{
			first.ID:  {upserted(first.ID, 2), upserted(first.ID, 3)},
			second.ID: {upserted(second.ID, 2), upserted(second.ID, 3)},
		})
	}},
	{"one that cannot be applied does not hinder the others", func(b *bundle) {
		first, full, last := b.create(newUser()), b.create(newUser(manyRoles(store.MaxRoles)...)), b.create(newUser())
		got := b.updateMany(
			store.Update{ID: first.ID, DisplayName: new("one")},
			store.Update{ID: uuid.NewString(), DisplayName: new("two")},
			store.Update{ID: first.ID, DisplayName: new("three"), ExpectedVersion: 1},
			store.Update{ID: full.ID, DisplayName: new("four"), AddRoles: []string{"more"}},
			store.Update{ID: last.ID, DisplayName: new("five")},
		)
		b.same(got, []store.Updated{
			{Written: store.Written{User: b.get(first.ID), Changed: true}},
			{Err: store.ErrNotFound},
			{Err: store.ErrVersionMismatch},
			{Err: store.ErrTooManyRoles},
			{Written: store.Written{User: b.get(last.ID), Changed: true}},
		})
		b.same(got[0].User.DisplayName, "one")
		b.same(b.get(full.ID), full)
		b.same(got[4].User.DisplayName, "five")
	}},
	{"what is taken and what is free is as the updates before it leave it", func(b *bundle) {
		first, second, third := b.create(withEmail("1@example.com")), b.create(withEmail("2@example.com")), b.create(withExternalID("sub|3"))
		head := b.head()
		got := b.updateMany(
			store.Update{ID: second.ID, Email: new("1@EXAMPLE.com")},
			store.Update{ID: first.ID, Email: new("swap@example.com"), ExternalID: new("sub|1")},
			store.Update{ID: second.ID, Email: new("1@EXAMPLE.com")},
			store.Update{ID: first.ID, Email: new("2@example.com")},
			store.Update{ID: third.ID, ExternalID: new("sub|1")},
			store.Update{ID: first.ID, ExternalID: new("")},
			store.Update{ID: third.ID, ExternalID: new("sub|1"), Disabled: new(true)},
			store.Update{ID: first.ID, ExternalID: new("sub|3"), SetAttributes: manyAttributes(2)},
		)
		var errs []error
		for _, outcome := range got {
			errs = append(errs, outcome.Err)
		}
		b.same(errs, []error{store.ErrEmailTaken, nil, nil, nil, store.ErrExternalIDTaken, nil, nil, nil})
		b.same(b.get(second.ID), got[2].User)
		b.same(b.get(third.ID), got[6].User)
		b.same(b.get(first.ID), got[7].User)
		b.same(b.byEmail("1@example.com").ID, second.ID)
		b.same(b.byEmail("2@example.com").ID, first.ID)
		b.same(b.byExternalID("sub|1").ID, third.ID)
		b.same(b.byExternalID("sub|3").ID, first.ID)
		b.sameByUser(head, map[string][]string{
			first.ID:  {upserted(first.ID, 2), upserted(first.ID, 3), upserted(first.ID, 4), upserted(first.ID, 5)},
			second.ID: {upserted(second.ID, 2)},
			third.ID:  {upserted(third.ID, 2)},
		})
	}},
	{"each by the rules of Update", func(b *bundle) {
		user := b.create(newUser("reader"))
		head := b.head()
		got := b.updateMany(store.Update{ID: user.ID}, store.Update{ID: user.ID, AddRoles: []string{"reader"}})
		b.same(got, []store.Updated{{Written: store.Written{User: user}}, {Written: store.Written{User: user}}})
		b.wantUnchanged(user, head)
	}},
	{"no updates", func(b *bundle) { b.updateMany() }},
	{"when it returns an error none is applied", func(b *bundle) {
		user := b.create(newUser())
		head := b.head()
		_, err := b.UpdateMany(canceled(b), []store.Update{{ID: user.ID, DisplayName: new("x")}})
		b.wantErr(err, context.Canceled)
		b.wantUnchanged(user, head)
	}},
}

func (b *bundle) updateMany(updates ...store.Update) []store.Updated {
	b.Helper()
	updated, err := b.UpdateMany(b.Context(), updates)
	b.must(err)
	if len(updated) != len(updates) {
		b.Fatalf("%d updates have %d outcomes", len(updates), len(updated))
	}
	return updated
}

// sameByUser checks what was logged of each user after a cursor; the order between
// users does not matter.
func (b *bundle) sameByUser(since store.Cursor, want map[string][]string) {
	b.Helper()
	changes, _ := b.changes(since, 1000)
	got := make(map[string][]string)
	for _, change := range changes {
		got[change.UserID] = append(got[change.UserID], textOf([]store.Change{change})...)
	}
	b.same(got, want)
}

var deleteSentences = []sentence{
	{"deletes a user and returns the version of the deletion", func(b *bundle) {
		user := b.create(newUser("admin"))
		b.update(store.Update{ID: user.ID, DisplayName: new("two")})
		head := b.head()
		b.same(b.remove(user.ID), int64(3))
		_, err := b.Get(b.Context(), user.ID)
		b.wantErr(err, store.ErrNotFound)
		b.same(b.list(store.Query{}), []string(nil))
		b.same(b.list(store.Query{Role: "admin"}), []string(nil))
		b.same(b.logged(head), []string{deleted(user.ID, 3)})
	}},
	{"ErrNotFound", func(b *bundle) {
		user := b.create(newUser())
		b.remove(user.ID)
		head := b.head()
		for _, id := range []string{user.ID, uuid.NewString()} {
			for version := range int64(3) {
				_, err := b.Delete(b.Context(), id, version)
				b.wantErr(err, store.ErrNotFound)
			}
		}
		b.same(b.logged(head), []string(nil))
	}},
	{"ErrVersionMismatch when the user is not at the expected version", func(b *bundle) {
		user := b.create(newUser())
		user = b.update(store.Update{ID: user.ID, DisplayName: new("two")})
		head := b.head()
		for _, version := range []int64{1, 3} {
			_, err := b.Delete(b.Context(), user.ID, version)
			b.wantErr(err, store.ErrVersionMismatch)
		}
		b.wantUnchanged(user, head)
		version, err := b.Delete(b.Context(), user.ID, 2)
		b.must(err)
		b.same(version, int64(3))
	}},
	{"the email is free again", func(b *bundle) {
		b.remove(b.create(withEmail("ada@example.com")).ID)
		user := b.create(withEmail("ADA@example.com"))
		got, err := b.GetByEmail(b.Context(), "ada@example.com")
		b.must(err)
		b.same(got, user)
	}},
	{"the external id is free again", func(b *bundle) {
		b.remove(b.create(withExternalID("sub|1")).ID)
		b.create(withExternalID("sub|1"))
	}},
	{"the id is not", func(b *bundle) {
		user := newUser()
		b.create(user)
		b.remove(user.ID)
		b.same(b.importAll(user), []store.Created{{Err: store.ErrIDTaken}})
	}},
	{"a new user has none of the roles of one who is deleted", func(b *bundle) {
		b.remove(b.create(newUser("admin")).ID)
		b.create(newUser())
		b.same(b.list(store.Query{Role: "admin"}), []string(nil))
	}},
}

var recordLoginSentences = []sentence{
	{"sets the last login of a user", func(b *bundle) {
		user := b.create(newUser("admin"))
		head := b.head()
		at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.FixedZone("", 3600))
		got := b.login(user.ID, at, time.Minute)
		if !got.LastLogin.Equal(at) || got.LastLogin.Location() != time.UTC {
			b.Errorf("last login is %v, want %v in UTC", got.LastLogin, at)
		}
		want := user
		want.LastLogin, want.UpdatedAt, want.Version = at.UTC(), got.UpdatedAt, 2
		b.same(got, want)
		b.same(b.get(user.ID), want)
		b.same(b.logged(head), []string{upserted(user.ID, 2)})
	}},
	{"the first login of a user is zero before", func(b *bundle) {
		if user := b.get(b.create(newUser()).ID); !user.LastLogin.IsZero() {
			b.Errorf("last login is %v", user.LastLogin)
		}
	}},
	{"in microseconds", func(b *bundle) {
		user := b.create(newUser())
		at := time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)
		b.same(b.login(user.ID, at, 0).LastLogin, at.Truncate(time.Microsecond))
		b.same(b.get(user.ID).LastLogin, at.Truncate(time.Microsecond))
	}},
	{"survives an update", func(b *bundle) {
		user := b.create(newUser())
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		b.login(user.ID, at, 0)
		b.same(b.update(store.Update{ID: user.ID, DisplayName: new("x")}).LastLogin, at)
		b.same(b.get(user.ID).LastLogin, at)
	}},
	{"ErrUserDisabled when the user is disabled", func(b *bundle) {
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		user := b.create(fullUser())
		head := b.head()
		for _, login := range []time.Time{at, user.LastLogin} {
			_, err := b.RecordLogin(b.Context(), user.ID, login, time.Minute)
			b.wantErr(err, store.ErrUserDisabled)
		}
		b.wantUnchanged(user, head)
		b.update(store.Update{ID: user.ID, Disabled: new(false)})
		b.same(b.login(user.ID, at, time.Minute).LastLogin, at)
	}},
	{"or returns ErrNotFound", func(b *bundle) {
		gone := b.create(newUser())
		b.remove(gone.ID)
		for _, id := range []string{uuid.NewString(), gone.ID} {
			_, err := b.RecordLogin(b.Context(), id, time.Now(), time.Minute)
			b.wantErr(err, store.ErrNotFound)
		}
	}},
	{"changes nothing when at is before the recorded login", func(b *bundle) {
		user := b.create(newUser())
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		user = b.login(user.ID, at, time.Minute)
		head := b.head()
		for _, earlier := range []time.Duration{time.Microsecond, time.Second, 24 * time.Hour} {
			b.same(b.login(user.ID, at.Add(-earlier), time.Minute), user)
			b.same(b.login(user.ID, at.Add(-earlier), 0), user)
		}
		b.wantUnchanged(user, head)
	}},
	{"a recorded login that lies in the future is replaced by one as much before it", func(b *bundle) {
		user := b.create(newUser())
		now := time.Now().UTC().Truncate(time.Microsecond)
		ahead := now.Add(10 * 24 * time.Hour)
		user = b.login(user.ID, ahead, time.Minute)
		b.same(user.LastLogin, ahead)
		b.same(b.login(user.ID, ahead.Add(time.Second), time.Minute), user)
		b.same(b.login(user.ID, ahead.Add(-time.Second), time.Minute), user)
		user = b.login(user.ID, now.Add(-time.Second), time.Minute)
		b.same(user.LastLogin, now.Add(-time.Second))
		b.same(b.login(user.ID, now.Add(-time.Hour), time.Minute), user)
	}},
	{"or the same login, in microseconds", func(b *bundle) {
		user := b.create(newUser())
		at := time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)
		user = b.login(user.ID, at, 0)
		head := b.head()
		b.same(b.login(user.ID, at, 0), user)
		b.wantUnchanged(user, head)
	}},
	{"or less than resolution after it", func(b *bundle) {
		user := b.create(newUser())
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		user = b.login(user.ID, at, time.Minute)
		head := b.head()
		for _, later := range []time.Duration{0, time.Second, time.Minute - time.Microsecond} {
			b.same(b.login(user.ID, at.Add(later), time.Minute), user)
		}
		b.wantUnchanged(user, head)
		again, err := b.RecordLogin(b.Context(), user.ID, at.Add(time.Second), time.Minute)
		b.must(err)
		b.same(again, store.Written{User: user})
		later, err := b.RecordLogin(b.Context(), user.ID, at.Add(time.Minute), time.Minute)
		b.must(err)
		b.same([]any{later.Version, later.Changed}, []any{int64(3), true})
	}},
}

func (b *bundle) login(id string, at time.Time, resolution time.Duration) store.User {
	b.Helper()
	user, err := b.RecordLogin(b.Context(), id, at, resolution)
	b.must(err)
	return user.User
}
