package storetest

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/example/userd/store"
)

var getSentences = []sentence{
	{"returns a user by id", func(b *bundle) {
		b.create(newUser())
		user := b.create(newUser("admin"))
		got, err := b.Get(b.Context(), user.ID)
		b.must(err)
		b.same(got, user)
	}},
	{"or ErrNotFound", func(b *bundle) {
		_, err := b.Get(b.Context(), uuid.NewString())
		b.wantErr(err, store.ErrNotFound)
		user := b.create(newUser())
		b.remove(user.ID)
		_, err = b.Get(b.Context(), user.ID)
		b.wantErr(err, store.ErrNotFound)
	}},
}

var getManySentences = []sentence{
	{"returns users in the order of the ids", func(b *bundle) {
		users := newUsers(100)
		b.importAll(users...)
		var ids []string
		for _, user := range users {
			ids = append(ids, user.ID)
		}
		slices.Sort(ids)
		slices.Reverse(ids)
		got, err := b.GetMany(b.Context(), ids)
		b.must(err)
		b.same(idsOf(got), ids)
		b.same(got[7], b.get(ids[7]))
	}},
	{"ids of nobody are left out", func(b *bundle) {
		first, gone, second := b.create(newUser()), b.create(newUser()), b.create(newUser("admin"))
		b.remove(gone.ID)
		got, err := b.GetMany(b.Context(), []string{uuid.NewString(), second.ID, gone.ID, first.ID})
		b.must(err)
		b.same(got, []store.User{second, first})
	}},
	{"an id that is given twice is returned twice", func(b *bundle) {
		first, second := b.create(newUser()), b.create(newUser())
		got, err := b.GetMany(b.Context(), []string{first.ID, second.ID, first.ID})
		b.must(err)
		b.same(got, []store.User{first, second, first})
	}},
	{"no ids", func(b *bundle) {
		got, err := b.GetMany(b.Context(), nil)
		b.must(err)
		b.same(got, []store.User(nil))
	}},
	{"all from one moment", getManyFromOneMoment},
}

// getManyFromOneMoment reads users who always change together.
func getManyFromOneMoment(b *bundle) {
	users := newUsers(10)
	b.importAll(users...)
	var ids []string
	for _, user := range users {
		ids = append(ids, user.ID)
	}
	written := make(chan error, 1)
	go func() { written <- updateTogether(b, ids, 50) }()
	for done := false; !done; {
		select {
		case err := <-written:
			b.must(err)
			done = true
		default:
		}
		got, err := b.GetMany(b.Context(), ids)
		b.must(err)
		for _, user := range got {
			if user.Version != got[0].Version {
				b.Fatalf("one user is at version %d, another at %d", got[0].Version, user.Version)
			}
		}
	}
}

// updateTogether changes all the users n times, in one transaction each time.
func updateTogether(b *bundle, ids []string, n int) error {
	for i := range n {
		var updates []store.Update
		for _, id := range ids {
			updates = append(updates, store.Update{ID: id, DisplayName: new(fmt.Sprint("name ", i))})
		}
		if _, err := b.UpdateMany(b.Context(), updates); err != nil {
			return err
		}
	}
	return nil
}

var getByEmailSentences = []sentence{
	{"returns a user by email without regard to ASCII case", func(b *bundle) {
		b.create(newUser())
		user := b.create(withEmail("Ada@Example.com"))
		for _, email := range []string{"Ada@Example.com", "ada@example.com", "ADA@EXAMPLE.COM"} {
			got, err := b.GetByEmail(b.Context(), email)
			b.must(err)
			b.same(got, user)
		}
	}},
	{"with regard to the case of other letters", func(b *bundle) {
		b.create(withEmail("é@example.com"))
		_, err := b.GetByEmail(b.Context(), "É@example.com")
		b.wantErr(err, store.ErrNotFound)
	}},
	{"or ErrNotFound", func(b *bundle) {
		user := b.create(withEmail("ada@example.com"))
		for _, email := range []string{"ada@example.co", "ada@example.com ", "%@example.com", "ada_example.com"} {
			_, err := b.GetByEmail(b.Context(), email)
			b.wantErr(err, store.ErrNotFound)
		}
		b.remove(user.ID)
		_, err := b.GetByEmail(b.Context(), user.Email)
		b.wantErr(err, store.ErrNotFound)
	}},
}

var listSentences = []sentence{
	{"returns users in the order of their positions", func(b *bundle) {
		var want []string
		for range 20 {
			want = append(want, b.create(newUser()).ID)
		}
		b.same(b.list(store.Query{}), want)
		users, err := b.List(b.Context(), store.Query{Limit: 5})
		b.must(err)
		b.same(users[4], b.get(want[4]))
	}},
	{"an update does not move a user", func(b *bundle) {
		first, second := b.create(newUser()), b.create(newUser())
		b.update(store.Update{ID: first.ID, DisplayName: new("Lovelace"), AddRoles: []string{"admin"}})
		b.same(b.list(store.Query{}), []string{first.ID, second.ID})
	}},
	{"nobody", func(b *bundle) {
		b.same(b.list(store.Query{}), []string(nil))
		user := b.create(newUser())
		b.same(b.list(store.Query{After: user.Position()}), []string(nil))
	}},
	{"from the first after the position, at most the limit", func(b *bundle) {
		b.importAll(newUsers(25)...)
		b.wantPages(store.Query{}, 25)
	}},
	{"after the position of a user who is deleted", func(b *bundle) {
		first, gone, last := b.create(newUser()), b.create(newUser()), b.create(newUser())
		b.remove(gone.ID)
		b.same(b.list(store.Query{After: gone.Position()}), []string{last.ID})
		b.same(b.list(store.Query{After: first.Position()}), []string{last.ID})
	}},
	{"between users of one time by id", func(b *bundle) {
		user := b.create(newUser())
		before, after := user.Position(), user.Position()
		before.ID, after.ID = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"
		b.same(b.list(store.Query{After: before}), []string{user.ID})
		b.same(b.list(store.Query{After: after}), []string(nil))
	}},
	{"by the start of the email without regard to ASCII case", func(b *bundle) {
		ada := b.create(withEmail("Ada@example.com"))
		adam := b.create(withEmail("adam@example.com"))
		b.create(withEmail("bob.ada@example.com"))
		b.create(withEmail("ac@example.com"))
		b.create(withEmail("ae@example.com"))
		b.same(b.list(store.Query{EmailPrefix: "aDa"}), []string{ada.ID, adam.ID})
		b.same(b.list(store.Query{EmailPrefix: "ada@EXAMPLE.com"}), []string{ada.ID})
		b.same(b.list(store.Query{EmailPrefix: "ada@example.com.au"}), []string(nil))
	}},
	{"in the start of an email every character stands for itself", func(b *bundle) {
		for _, email := range []string{`a%b@x.org`, `a_b@x.org`, `a\b@x.org`, `a*b@x.org`, `a'b@x.org`, `a[b@x.org`, `a^b@x.org`} {
			user := b.create(withEmail(email))
			b.create(withEmail("a" + user.ID + "b@x.org"))
			b.same(b.list(store.Query{EmailPrefix: email[:3]}), []string{user.ID})
		}
		b.same(b.list(store.Query{EmailPrefix: "%"}), []string(nil))
	}},
	{"by the start of an email with other letters", func(b *bundle) {
		upper := b.create(withEmail("Éa@example.com"))
		lower := b.create(withEmail("éb@example.com"))
		b.same(b.list(store.Query{EmailPrefix: "É"}), []string{upper.ID})
		b.same(b.list(store.Query{EmailPrefix: "éB"}), []string{lower.ID})
		b.same(b.list(store.Query{EmailPrefix: "e"}), []string(nil))
	}},
	{"by a part of the name without regard to case", func(b *bundle) {
		ada := b.create(named("Ada Lovelace"))
		b.create(named("Grace Hopper"))
		zoe := b.create(named("ZOË Müller"))
		anna := b.create(named("Анна Ω"))
		for part, want := range map[string]string{
			"LOVE": ada.ID, "a l": ada.ID, "zoë": zoe.ID, "MÜLLER": zoe.ID, "аННА": anna.ID, "ω": anna.ID,
		} {
			b.same(b.list(store.Query{NameContains: part}), []string{want})
		}
		b.same(b.list(store.Query{NameContains: "muller"}), []string(nil))
	}},
	{"in a part of the name every character stands for itself", func(b *bundle) {
		for _, name := range []string{`50% off`, `snake_case`, `back\slash`, `it's`, `[x]`, `a*b`, `q?r`} {
			user := b.create(named(name))
			b.create(named("plain"))
			b.same(b.list(store.Query{NameContains: name[1:]}), []string{user.ID})
		}
		for _, part := range []string{"p%n", "p_ain", "p.ain", "p*n"} {
			b.same(b.list(store.Query{NameContains: part}), []string(nil))
		}
	}},
	{"by a role that the user has", func(b *bundle) {
		admin := b.create(newUser("reader", "admin"))
		reader := b.create(newUser("reader"))
		b.create(newUser("administrator"))
		b.create(newUser())
		b.same(b.list(store.Query{Role: "admin"}), []string{admin.ID})
		b.same(b.list(store.Query{Role: "reader"}), []string{admin.ID, reader.ID})
		b.same(b.list(store.Query{Role: "Admin"}), []string(nil))
	}},
	{"by a role as updates and deletions leave it", func(b *bundle) {
		first, second, third := b.create(newUser("old")), b.create(newUser("old")), b.create(newUser("old"))
		b.update(store.Update{ID: first.ID, AddRoles: []string{"new"}, RemoveRoles: []string{"old"}})
		b.remove(third.ID)
		b.same(b.list(store.Query{Role: "old"}), []string{second.ID})
		b.same(b.list(store.Query{Role: "new"}), []string{first.ID})
	}},
	{"every filter must match", func(b *bundle) {
		match := store.NewUser{Email: "ada1@example.com", DisplayName: "Ada One", Roles: []string{"admin"}}
		var want []string
		for i := range 16 {
			user := match
			user.ID, user.Email = uuid.NewString(), fmt.Sprintf("ada%d@example.com", i)
			if i&1 != 0 {
				user.Email = "x" + user.Email
			}
			if i&2 != 0 {
				user.DisplayName = "Grace"
			}
			if i&4 != 0 {
				user.Roles = []string{"reader"}
			}
			b.create(user)
			if i&7 == 0 {
				want = append(want, user.ID)
			}
		}
		query := store.Query{EmailPrefix: "ada", NameContains: "one", Role: "admin"}
		b.same(b.list(query), want)
		query.Limit = 1
		b.same(b.list(query), want[:1])
	}},
	{"pages of a filter are in order and complete", func(b *bundle) {
		var users []store.NewUser
		for i := range 60 {
			user := newUser("reader")
			user.Email, user.DisplayName = fmt.Sprintf("u%d@example.com", (i*37)%60), "Ada"
			if i%3 == 0 {
				user = newUser("writer")
				user.Email, user.DisplayName = fmt.Sprintf("w%d@example.com", i), "Bob"
			}
			users = append(users, user)
		}
		b.importAll(users...)
		b.wantPages(store.Query{Role: "reader"}, 40)
		b.wantPages(store.Query{EmailPrefix: "u"}, 40)
		b.wantPages(store.Query{NameContains: "ADA"}, 40)
		b.wantPages(store.Query{NameContains: "bob", Role: "writer", EmailPrefix: "W"}, 20)
	}},
}

// wantPages checks that the pages of a query have n users, in the order of their
// positions, whatever the size of the pages.
func (b *bundle) wantPages(query store.Query, n int) {
	b.Helper()
	query.Limit, query.After = 1000, store.Position{}
	all := b.list(query)
	b.same(len(all), n)
	for _, limit := range []int{1, 7, n, n + 1} {
		var pages []string
		query.Limit, query.After = limit, store.Position{}
		for {
			page, err := b.List(b.Context(), query)
			b.must(err)
			if len(page) > limit {
				b.Fatalf("a page has %d users, limit %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			pages, query.After = append(pages, idsOf(page)...), page[len(page)-1].Position()
		}
		b.same(pages, all)
	}
}
