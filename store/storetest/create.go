package storetest

import (
	"context"
	"strings"
	"time"

	"github.com/example/userd/store"
)

var createSentences = []sentence{
	{"stores a new user at version 1 and returns it", func(b *bundle) {
		user := newUser("writer", "admin")
		before := time.Now().Add(-time.Minute)
		created := b.create(user)
		b.same(created, store.User{
			ID: user.ID, Email: user.Email, DisplayName: user.DisplayName,
			CreatedAt: created.CreatedAt, UpdatedAt: created.CreatedAt,
			Roles: []string{"admin", "writer"}, Version: 1,
		})
		if created.CreatedAt.Before(before) || created.CreatedAt.After(time.Now().Add(time.Minute)) {
			b.Errorf("created at %v", created.CreatedAt)
		}
		b.same(b.get(user.ID), created)
	}},
	{"times have microseconds and are UTC", func(b *bundle) {
		created := b.create(newUser()).CreatedAt
		if created.Location() != time.UTC || !created.Equal(created.Truncate(time.Microsecond)) {
			b.Errorf("created at %v", created)
		}
	}},
	{"logs the change", func(b *bundle) {
		head := b.head()
		user := b.create(newUser())
		b.same(b.logged(head), []string{upserted(user.ID, 1)})
	}},
	{"keeps email and name as given", func(b *bundle) {
		user := newUser()
		user.Email, user.DisplayName = `O'Brien+"x"%_\@Example.COM`, "Zoë \\ '; 😀 ǅ"
		created := b.create(user)
		b.same([]string{created.Email, created.DisplayName}, []string{user.Email, user.DisplayName})
		b.same(b.get(user.ID), created)
	}},
	{"no roles are nil", func(b *bundle) {
		if user := b.get(b.create(newUser()).ID); user.Roles != nil {
			b.Errorf("roles are %#v", user.Roles)
		}
	}},
	{"as many roles as a user can have", func(b *bundle) {
		b.same(b.get(b.create(newUser(manyRoles(store.MaxRoles)...)).ID).Roles, manyRoles(store.MaxRoles))
	}},
	{"ErrEmailTaken when another user has the email", func(b *bundle) {
		b.create(withEmail("ada@example.com"))
		head := b.head()
		_, err := b.Create(b.Context(), withEmail("ada@example.com"))
		b.wantErr(err, store.ErrEmailTaken)
		b.same(b.logged(head), []string(nil))
	}},
	{"without regard to ASCII case", func(b *bundle) {
		b.create(withEmail("Ada@Example.com"))
		_, err := b.Create(b.Context(), withEmail("aDA@eXAMPLE.COM"))
		b.wantErr(err, store.ErrEmailTaken)
	}},
	{"but with regard to the case of other letters", func(b *bundle) {
		b.create(withEmail("é@example.com"))
		b.create(withEmail("É@example.com"))
		b.create(withEmail("k@example.com"))
		b.create(withEmail("\u212a@example.com")) // The Kelvin sign, which Unicode folds to k.
	}},
	{"ErrIDTaken when another user has the id", func(b *bundle) {
		user := b.create(newUser())
		head := b.head()
		other := newUser()
		other.ID = user.ID
		_, err := b.Create(b.Context(), other)
		b.wantErr(err, store.ErrIDTaken)
		b.wantUnchanged(user, head)
	}},
	{"ErrIDTaken when another user had the id", func(b *bundle) {
		user := newUser()
		b.create(user)
		b.remove(user.ID)
		_, err := b.Create(b.Context(), user)
		b.wantErr(err, store.ErrIDTaken)
		user.Email = "other@example.com"
		_, err = b.Create(b.Context(), user)
		b.wantErr(err, store.ErrIDTaken)
		_, err = b.Get(b.Context(), user.ID)
		b.wantErr(err, store.ErrNotFound)
	}},
	{"changes nothing when the user has this email already", func(b *bundle) {
		user := newUser("reader")
		b.create(user)
		updated := b.update(store.Update{ID: user.ID, DisplayName: new("Lovelace")})
		head := b.head()
		user.Roles, user.Email = []string{"admin"}, strings.ToUpper(user.Email)
		again, err := b.Create(b.Context(), user)
		b.must(err)
		b.same(again, store.Written{User: updated})
		b.wantUnchanged(updated, head)
	}},
	{"says that it has made the user", func(b *bundle) {
		created, err := b.Create(b.Context(), newUser())
		b.must(err)
		b.same([]any{created.Version, created.Changed}, []any{int64(1), true})
	}},
	{"ErrIDTaken when this email differs in the case of other letters", func(b *bundle) {
		user := withEmail("é@example.com")
		b.create(user)
		user.Email = "É@example.com"
		_, err := b.Create(b.Context(), user)
		b.wantErr(err, store.ErrIDTaken)
	}},
	{"keeps everything that the user brings", func(b *bundle) {
		user := fullUser()
		head := b.head()
		created := b.create(user)
		b.same(created, store.User{
			ID: user.ID, Email: user.Email, DisplayName: user.DisplayName, Roles: user.Roles,
			CreatedAt: user.CreatedAt, UpdatedAt: created.UpdatedAt, LastLogin: user.LastLogin, Version: 1,
			Disabled: true, ExternalID: user.ExternalID, Attributes: store.SortedAttributes(user.Attributes),
		})
		b.same(b.get(user.ID), created)
		b.same(b.list(store.Query{}), []string{user.ID})
		if changes, _ := b.changes(head, 10); len(changes) != 1 || changes[0].At.Before(created.UpdatedAt) {
			b.Errorf("the log has %v of a user who was created long ago", changes)
		}
		if time.Since(created.UpdatedAt).Abs() > time.Minute {
			b.Errorf("updated at %v", created.UpdatedAt)
		}
	}},
	{"keeps external id and attributes as given", func(b *bundle) {
		user := newUser()
		user.ExternalID = `https://id.example.com/|"O'Brien" \ %_ é 😀`
		user.Attributes = []store.Attribute{
			{Name: "b.c-d_e", Value: `{"a": "<b> & 'c'", "d": "\u0041"}`},
			{Name: "b", Value: "é 😀\t\n\u2028"},
			{Name: "bb"},
			{Name: "a", Value: strings.Repeat("x", 1024)},
		}
		created := b.create(user)
		b.same(created.ExternalID, user.ExternalID)
		b.same(created.Attributes, store.SortedAttributes(user.Attributes))
		b.same(b.get(user.ID), created)
	}},
	{"no attributes are nil", func(b *bundle) {
		if user := b.get(b.create(newUser()).ID); user.Attributes != nil {
			b.Errorf("attributes are %#v", user.Attributes)
		}
	}},
	{"as many attributes as a user can have", func(b *bundle) {
		user := newUser()
		user.Attributes = manyAttributes(store.MaxAttributes)
		b.same(b.get(b.create(user).ID).Attributes, user.Attributes)
	}},
	{"ErrExternalIDTaken when another user has the external id", func(b *bundle) {
		b.create(withExternalID("sub|1"))
		head := b.head()
		_, err := b.Create(b.Context(), withExternalID("sub|1"))
		b.wantErr(err, store.ErrExternalIDTaken)
		b.same(b.logged(head), []string(nil))
		b.create(withExternalID("SUB|1"))
		b.create(withExternalID("sub|1 "))
	}},
	{"many have no external id", func(b *bundle) {
		b.create(newUser())
		b.create(newUser())
	}},
	{"else, in this order, of what is taken", func(b *bundle) {
		taken := withExternalID("sub|1")
		b.create(taken)
		user := newUser()
		user.ExternalID, user.Email = taken.ExternalID, taken.Email
		_, err := b.Create(b.Context(), user)
		b.wantErr(err, store.ErrEmailTaken)
		user.ID, user.Email = taken.ID, "other@example.com"
		_, err = b.Create(b.Context(), user)
		b.wantErr(err, store.ErrIDTaken)
	}},
	{"an error leaves nothing behind", func(b *bundle) {
		b.create(withEmail("ada@example.com"))
		failed := withEmail("ADA@example.com")
		failed.Roles = []string{"leftover"}
		_, err := b.Create(b.Context(), failed)
		b.wantErr(err, store.ErrEmailTaken)
		b.same(b.list(store.Query{Role: "leftover"}), []string(nil))
		failed.Email = "free@example.com"
		b.create(failed)
	}},
}

// made is what became of a row that has made a user.
func made(id string) store.Created { return store.Created{ID: id, Version: 1, Changed: true} }

var importSentences = []sentence{
	{"creates users and says for each in order what became of it", func(b *bundle) {
		users := newUsers(50)
		for i, created := range b.importAll(users...) {
			b.same(created, made(users[i].ID))
			b.same(b.get(users[i].ID).Version, int64(1))
		}
	}},
	{"no users", func(b *bundle) {
		head := b.head()
		b.importAll()
		b.same(b.logged(head), []string(nil))
	}},
	{"each by the rules of Create", func(b *bundle) {
		imported, created := newUser("writer", "admin"), newUser("writer", "admin")
		b.importAll(imported)
		got, want := b.get(imported.ID), b.create(created)
		b.same(got.UpdatedAt, got.CreatedAt)
		want.ID, want.Email, want.CreatedAt, want.UpdatedAt = got.ID, got.Email, got.CreatedAt, got.UpdatedAt
		b.same(got, want)
	}},
	{"a row that cannot be stored does not hinder the others", func(b *bundle) {
		gone := newUser()
		b.create(gone)
		b.remove(gone.ID)
		taken := b.create(withEmail("ada@example.com"))
		first, last := newUser(), newUser("reader")
		sameID := newUser()
		sameID.ID = taken.ID
		b.same(b.importAll(first, withEmail("Ada@Example.com"), sameID, gone, last), []store.Created{
			made(first.ID), {Err: store.ErrEmailTaken}, {Err: store.ErrIDTaken}, {Err: store.ErrIDTaken}, made(last.ID),
		})
		b.same(b.list(store.Query{}), []string{taken.ID, first.ID, last.ID})
		b.same(b.list(store.Query{Role: "reader"}), []string{last.ID})
	}},
	{"is repeatable", func(b *bundle) {
		users := newUsers(10)
		b.importAll(users[:5]...)
		head := b.head()
		for i, created := range b.importAll(users...)[:5] {
			b.same(created, store.Created{ID: users[i].ID, Version: 1})
		}
		b.same(len(b.logged(head)), 5)
	}},
	{"of two rows with one email the first wins", func(b *bundle) {
		first := withEmail("ada@example.com")
		b.same(b.importAll(first, withEmail("ADA@example.com")), []store.Created{made(first.ID), {Err: store.ErrEmailTaken}})
	}},
	{"of two rows with one id the first wins", func(b *bundle) {
		first, second := newUser(), newUser()
		second.ID = first.ID
		b.same(b.importAll(first, second), []store.Created{made(first.ID), {Err: store.ErrIDTaken}})
		b.same(b.get(first.ID).Email, first.Email)
	}},
	{"of two rows with one external id the first wins", func(b *bundle) {
		first := withExternalID("sub|1")
		b.same(b.importAll(first, withExternalID("sub|1"), withExternalID("sub|2")),
			[]store.Created{made(first.ID), {Err: store.ErrExternalIDTaken}, made(b.byExternalID("sub|2").ID)})
	}},
	{"what a row that is not stored would have had is free for a later one", func(b *bundle) {
		taken := b.create(withEmail("ada@example.com"))
		refused, later := withEmail(taken.Email), withExternalID("sub|1")
		refused.ExternalID = later.ExternalID
		b.same(b.importAll(refused, later), []store.Created{{Err: store.ErrEmailTaken}, made(later.ID)})
		b.same(b.byExternalID("sub|1").ID, later.ID)
	}},
	{"keeps everything that a row brings", func(b *bundle) {
		imported, created := fullUser(), fullUser()
		taken := b.create(withEmail("ada@example.com"))
		b.importAll(imported)
		for _, user := range []store.NewUser{imported, created} { // The second time beside a row that is refused.
			b.same(b.importAll(withEmail(taken.Email), user)[1], store.Created{ID: user.ID, Version: 1, Changed: user.ID == created.ID})
			got := b.get(user.ID)
			b.same(got, store.User{
				ID: user.ID, Email: user.Email, DisplayName: user.DisplayName, Roles: user.Roles,
				CreatedAt: user.CreatedAt, UpdatedAt: got.UpdatedAt, LastLogin: user.LastLogin, Version: 1,
				Disabled: true, ExternalID: user.ExternalID, Attributes: store.SortedAttributes(user.Attributes),
			})
			if time.Since(got.UpdatedAt).Abs() > time.Minute {
				b.Errorf("updated at %v", got.UpdatedAt)
			}
		}
	}},
	{"a user who is there is skipped", func(b *bundle) {
		there := b.create(withExternalID("sub|1"))
		there = b.update(store.Update{ID: there.ID, DisplayName: new("Lovelace")})
		head := b.head()
		rows := []store.NewUser{sameKeys(there, "id"), sameKeys(there, "external id"), sameKeys(there, "email")}
		for i := range rows {
			rows[i].OnConflict = store.SkipOnConflict
		}
		want := store.Created{ID: there.ID, Version: 2, Existing: true}
		b.same(b.importAll(rows...), []store.Created{want, want, want})
		b.wantUnchanged(there, head)
	}},
	{"a user who is there is updated", func(b *bundle) {
		for _, key := range []string{"id", "external id", "email"} {
			row := fullUser()
			there := b.create(row)
			row = sameKeys(there, key)
			row.OnConflict, row.NewID = store.UpdateOnConflict, key != "id"
			row.DisplayName, row.Roles, row.Disabled = "Grace", []string{"writer", "editor"}, false
			row.Attributes = []store.Attribute{{Name: "team", Value: "navy"}}
			head := b.head()
			b.same(b.importAll(row), []store.Created{{ID: there.ID, Version: 2, Existing: true, Changed: true}})
			got := b.get(there.ID)
			want := there
			want.Email, want.DisplayName, want.Roles, want.Disabled = row.Email, "Grace", []string{"editor", "writer"}, false
			want.Attributes, want.Version, want.UpdatedAt = row.Attributes, 2, got.UpdatedAt
			if row.ExternalID != "" {
				want.ExternalID = row.ExternalID
			}
			b.same(got, want)
			b.same(b.byEmail(row.Email).ID, there.ID)
			b.same(b.list(store.Query{Role: "writer"}), []string{there.ID})
			b.same(b.logged(head), []string{upserted(there.ID, 2)})
			b.remove(there.ID)
		}
	}},
	{"the id goes before the external id and that before the email", func(b *bundle) {
		first, second, third := b.create(newUser()), b.create(withExternalID("sub|2")), b.create(newUser())
		row := sameKeys(third, "email")
		row.ExternalID, row.OnConflict, row.NewID = second.ExternalID, store.SkipOnConflict, true
		b.same(b.importAll(row)[0].ID, second.ID)
		row.ID, row.NewID = first.ID, false
		b.same(b.importAll(row)[0].ID, first.ID)
		row.OnConflict = store.UpdateOnConflict
		b.wantErr(b.importAll(row)[0].Err, store.ErrEmailTaken)
	}},
	{"one that is as the row says already gets no new version", func(b *bundle) {
		row := fullUser()
		there := b.create(row)
		head := b.head()
		row.OnConflict, row.CreatedAt, row.LastLogin = store.UpdateOnConflict, time.Time{}, time.Time{}
		b.same(b.importAll(row), []store.Created{{ID: there.ID, Version: 1, Existing: true}})
		row.ExternalID = ""
		b.same(b.importAll(row), []store.Created{{ID: there.ID, Version: 1, Existing: true}})
		b.wantUnchanged(there, head)
	}},
	{"a row that brings another id is not stored over a user", func(b *bundle) {
		there := b.create(withExternalID("sub|1"))
		head := b.head()
		for key, want := range map[string]error{"external id": store.ErrExternalIDTaken, "email": store.ErrEmailTaken} {
			row := sameKeys(there, key)
			row.OnConflict = store.UpdateOnConflict
			b.wantErr(b.importAll(row)[0].Err, want)
		}
		b.wantUnchanged(there, head)
	}},
	{"nobody is there: a row that would update or skip is created", func(b *bundle) {
		gone := newUser()
		b.create(gone)
		b.remove(gone.ID)
		gone.OnConflict = store.SkipOnConflict
		updating, skipping := newUser(), newUser()
		updating.OnConflict, skipping.OnConflict = store.UpdateOnConflict, store.SkipOnConflict
		b.same(b.importAll(updating, gone, skipping),
			[]store.Created{made(updating.ID), {Err: store.ErrIDTaken}, made(skipping.ID)})
		b.same(b.get(updating.ID).Version, int64(1))
	}},
	{"rows see what earlier ones have done", func(b *bundle) {
		there := b.create(withEmail("ada@example.com"))
		created := withEmail("grace@example.com")
		again := withEmail("GRACE@example.com")
		again.OnConflict, again.NewID, again.Roles = store.UpdateOnConflict, true, []string{"admin"}
		moved := sameKeys(there, "id")
		moved.Email, moved.OnConflict = "lovelace@example.com", store.UpdateOnConflict
		successor := withEmail("ada@example.com")
		head := b.head()
		b.same(b.importAll(created, again, moved, successor), []store.Created{
			made(created.ID),
			{ID: created.ID, Version: 2, Existing: true, Changed: true},
			{ID: there.ID, Version: 2, Existing: true, Changed: true},
			made(successor.ID),
		})
		b.same(b.get(created.ID).Roles, []string{"admin"})
		b.same(b.list(store.Query{Role: "admin"}), []string{created.ID})
		b.same(b.byEmail("ada@example.com").ID, successor.ID)
		b.same(b.byEmail("lovelace@example.com").ID, there.ID)
		b.sameByUser(head, map[string][]string{
			created.ID:   {upserted(created.ID, 1), upserted(created.ID, 2)},
			there.ID:     {upserted(there.ID, 2)},
			successor.ID: {upserted(successor.ID, 1)},
		})
	}},
	{"what another user has cannot be given by an update", func(b *bundle) {
		taken, there := b.create(withExternalID("sub|1")), b.create(newUser())
		head := b.head()
		row := sameKeys(there, "id")
		row.OnConflict, row.Email = store.UpdateOnConflict, taken.Email
		b.wantErr(b.importAll(row)[0].Err, store.ErrEmailTaken)
		row.Email, row.ExternalID = there.Email, taken.ExternalID
		b.wantErr(b.importAll(row)[0].Err, store.ErrExternalIDTaken)
		b.wantUnchanged(there, head)
	}},
	{"two equal rows are one user", func(b *bundle) {
		user := newUser("reader")
		head := b.head()
		b.same(b.importAll(user, user), []store.Created{made(user.ID), {ID: user.ID, Version: 1}})
		b.same(b.logged(head), []string{upserted(user.ID, 1)})
	}},
	{"the times of creation are in the order of the rows", func(b *bundle) {
		users := newUsers(1000)
		b.importAll(users...)
		var last time.Time
		for _, user := range users {
			created := b.get(user.ID).CreatedAt
			if !created.After(last) {
				b.Fatalf("a user was created at %v, the one before it at %v", created, last)
			}
			last = created
		}
	}},
	{"logs every user once", func(b *bundle) {
		users := newUsers(100)
		b.importAll(users...)
		counts := make(map[string]int)
		for _, line := range b.logged(store.Earliest) {
			counts[line]++
		}
		for _, user := range users {
			b.same(counts[upserted(user.ID, 1)], 1)
		}
		b.same(len(counts), len(users))
	}},
	{"when it returns an error no row is stored", func(b *bundle) {
		head := b.head()
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		_, err := b.Import(ctx, newUsers(10))
		b.wantErr(err, context.Canceled)
		b.same(b.list(store.Query{}), []string(nil))
		b.same(b.logged(head), []string(nil))
	}},
}

// sameKeys is a new row that has one of the keys of a user.
func sameKeys(user store.User, key string) store.NewUser {
	row := newUser()
	switch key {
	case "id":
		row.ID = user.ID
	case "external id":
		row.ExternalID = user.ExternalID
	case "email":
		row.Email = strings.ToUpper(user.Email)
	}
	return row
}
