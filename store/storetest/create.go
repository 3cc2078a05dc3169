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
		b.same(b.create(user), updated)
		b.wantUnchanged(updated, head)
	}},
	{"ErrIDTaken when this email differs in the case of other letters", func(b *bundle) {
		user := withEmail("é@example.com")
		b.create(user)
		user.Email = "É@example.com"
		_, err := b.Create(b.Context(), user)
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

var importSentences = []sentence{
	{"creates users and says for each in order what became of it", func(b *bundle) {
		users := newUsers(50)
		for i, created := range b.importAll(users...) {
			b.same(created, store.Created{ID: users[i].ID})
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
			{ID: first.ID}, {Err: store.ErrEmailTaken}, {Err: store.ErrIDTaken}, {Err: store.ErrIDTaken}, {ID: last.ID},
		})
		b.same(b.list(store.Query{}), []string{taken.ID, first.ID, last.ID})
		b.same(b.list(store.Query{Role: "reader"}), []string{last.ID})
	}},
	{"is repeatable", func(b *bundle) {
		users := newUsers(10)
		first := b.importAll(users[:5]...)
		head := b.head()
		b.same(b.importAll(users...)[:5], first)
		b.same(len(b.logged(head)), 5)
	}},
	{"of two rows with one email the first wins", func(b *bundle) {
		first := withEmail("ada@example.com")
		b.same(b.importAll(first, withEmail("ADA@example.com")), []store.Created{{ID: first.ID}, {Err: store.ErrEmailTaken}})
	}},
	{"of two rows with one id the first wins", func(b *bundle) {
		first, second := newUser(), newUser()
		second.ID = first.ID
		b.same(b.importAll(first, second), []store.Created{{ID: first.ID}, {Err: store.ErrIDTaken}})
		b.same(b.get(first.ID).Email, first.Email)
	}},
	{"two equal rows are one user", func(b *bundle) {
		user := newUser("reader")
		head := b.head()
		b.same(b.importAll(user, user), []store.Created{{ID: user.ID}, {ID: user.ID}})
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
