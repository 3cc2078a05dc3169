package storetest

import (
	"fmt"
	"slices"
	"time"

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

var getByExternalIDSentences = []sentence{
	{"returns a user by external id", func(b *bundle) {
		user := b.create(withExternalID("sub|1"))
		b.create(newUser())
		b.same(b.byExternalID("sub|1"), user)
	}},
	{"or ErrNotFound", func(b *bundle) {
		b.create(newUser())
		user := b.create(withExternalID("sub|é"))
		for _, externalID := range []string{"sub|", "SUB|é", "sub|É", "sub|é ", "%", ""} {
			_, err := b.GetByExternalID(b.Context(), externalID)
			b.wantErr(err, store.ErrNotFound)
		}
		b.remove(user.ID)
		_, err := b.GetByExternalID(b.Context(), user.ExternalID)
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
		page, err := b.List(b.Context(), store.Query{Limit: 5})
		b.must(err)
		b.same(page.Users[4], b.get(want[4]))
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
	{"by a part of the name without regard to case, accents and how letters are composed", func(b *bundle) {
		ada := b.create(named("Ada Lovelace"))
		b.create(named("Grace Hopper"))
		zoe := b.create(named("ZOË Müller"))
		anna := b.create(named("Анна Ω"))
		for part, want := range map[string]string{
			"LOVE": ada.ID, "a l": ada.ID, "zoë": zoe.ID, "MÜLLER": zoe.ID, "аННА": anna.ID, "ω": anna.ID,
		} {
			b.same(b.list(store.Query{NameContains: part}), []string{want})
		}
		nikos := b.create(named("Ni\u0301kos Νίκος"))
		for _, part := range []string{"ΝΙΚΟΣ", "ΝΊΚΟΣ", "νι\u0301κοσ", "NÍKOS", "nikos"} {
			b.same(b.list(store.Query{NameContains: part}), []string{nikos.ID})
		}
		b.same(b.list(store.Query{NameContains: "muller"}), []string{zoe.ID})
		b.same(b.list(store.Query{NameContains: "mueller"}), []string(nil))
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
	{"by an attribute as updates, deletions and imports leave it", func(b *bundle) {
		blue := []store.Attribute{{Name: "tenant", Value: "blue"}}
		var users []store.NewUser
		for range 4 {
			user := newUser()
			user.Attributes = blue
			users = append(users, user)
		}
		b.importAll(users...)
		b.update(store.Update{ID: users[0].ID, SetAttributes: []store.Attribute{{Name: "tenant", Value: "red"}}})
		b.update(store.Update{ID: users[1].ID, RemoveAttributes: []string{"tenant"}})
		b.remove(users[2].ID)
		b.same(b.list(store.Query{Attributes: blue}), []string{users[3].ID})
		b.same(b.list(store.Query{Attributes: []store.Attribute{{Name: "tenant", Value: "red"}}}), []string{users[0].ID})
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
	{"by whether a user is disabled", func(b *bundle) {
		off := fullUser()
		on := newUser()
		b.importAll(off, on)
		b.same(b.list(store.Query{Disabled: new(true)}), []string{off.ID})
		b.same(b.list(store.Query{Disabled: new(false)}), []string{on.ID})
	}},
	{"by attributes, each of which must match", func(b *bundle) {
		user, odd := fullUser(), newUser()
		odd.Attributes = []store.Attribute{{Name: "tenant", Value: `"bl'ue`}, {Name: "a.b-c", Value: "1"}}
		b.importAll(user, odd, newUser())
		tenant, locale := store.Attribute{Name: "tenant", Value: "blue"}, store.Attribute{Name: "locale", Value: "de-CH"}
		b.same(b.list(store.Query{Attributes: []store.Attribute{tenant, locale}}), []string{user.ID})
		b.same(b.list(store.Query{Attributes: odd.Attributes}), []string{odd.ID})
		locale.Value = "de"
		b.same(b.list(store.Query{Attributes: []store.Attribute{tenant, locale}}), []string(nil))
		b.same(b.list(store.Query{Attributes: []store.Attribute{{Name: "a", Value: ""}}}), []string(nil))
	}},
	{"by the last login, or the creation of those who never logged in", func(b *bundle) {
		at := time.Date(2021, 5, 1, 0, 0, 0, 0, time.UTC)
		never, old, late := newUser(), newUser(), newUser()
		for _, user := range []*store.NewUser{&never, &old, &late} {
			user.CreatedAt = at
		}
		old.LastLogin, late.LastLogin = at.Add(time.Hour), at.Add(2*time.Hour)
		b.importAll(never, old, late)
		b.sameSet(b.list(store.Query{InactiveSince: at.Add(time.Hour)}), never.ID)
		b.sameSet(b.list(store.Query{InactiveSince: at.Add(time.Hour + 1000)}), never.ID, old.ID)
		b.sameSet(b.list(store.Query{InactiveSince: at}))
	}},
	{"by the creation: at a time or later, and before one", func(b *bundle) {
		at := time.Date(2021, 5, 1, 0, 0, 0, 0, time.UTC)
		var users []store.NewUser
		for i := range 5 {
			user := newUser()
			user.CreatedAt = at.Add(time.Duration(i) * time.Second)
			users = append(users, user)
		}
		b.importAll(users...)
		query := store.Query{CreatedAfter: at.Add(time.Second), CreatedBefore: at.Add(3 * time.Second)}
		b.same(b.list(query), []string{users[1].ID, users[2].ID})
		query.NewestFirst = true
		b.same(b.list(query), []string{users[2].ID, users[1].ID})
	}},
	{"in the reverse order", func(b *bundle) {
		var want []string
		for range 20 {
			want = append(want, b.create(newUser("reader")).ID)
		}
		slices.Reverse(want)
		b.same(b.list(store.Query{NewestFirst: true}), want)
		b.wantPages(store.Query{NewestFirst: true}, 20)
		b.wantPages(store.Query{NewestFirst: true, Role: "reader"}, 20)
		b.wantPages(store.Query{NewestFirst: true, Disabled: new(false)}, 20)
	}},
	{"where filters leave out very many, it returns fewer users, or none, and where to go on", func(b *bundle) {
		const n = 25_000
		users := newUsers(n)
		active := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for i := range users {
			users[i].Email, users[i].Roles, users[i].LastLogin = "member-"+users[i].Email, []string{"member"}, active
		}
		for _, i := range []int{3, 12_345, n - 1} {
			users[i].Disabled, users[i].LastLogin = true, active.Add(-time.Hour)
		}
		odd := store.Attribute{Name: "odd", Value: "yes"}
		for i, role := range map[int]string{5_000: "member", 20_000: "guest"} {
			users[i].Email, users[i].DisplayName, users[i].Roles = "odd-"+users[i].Email, "Odd One", []string{role}
			users[i].Attributes = []store.Attribute{odd}
		}
		for rest := users; len(rest) > 0; rest = rest[5000:] {
			b.importAll(rest[:5000]...)
		}
		all := func(query store.Query) (found []string, pages int) {
			query.Limit = 2
			for {
				page, err := b.List(b.Context(), query)
				b.must(err)
				found = append(found, idsOf(page.Users)...)
				if pages++; page.Next == (store.Position{}) {
					return found, pages
				}
				query.After = page.Next
			}
		}
		want := []string{users[3].ID, users[12_345].ID, users[n-1].ID}
		for _, query := range []store.Query{
			{Disabled: new(true)},
			{InactiveSince: active},
			{InactiveSince: active, Role: "member"},
			{InactiveSince: active, NewestFirst: true},
			{InactiveSince: active, EmailPrefix: "MEMBER-"},
		} {
			got, pages := all(query)
			b.sameSet(got, want...)
			if pages < 2 || pages > 12 {
				b.Errorf("%+v: %d pages", query, pages)
			}
		}
		for _, query := range []store.Query{
			{EmailPrefix: "odd-", Role: "member"},
			{NameContains: "odd one", Role: "member"},
			{Attributes: []store.Attribute{odd}, Role: "member"},
		} {
			got, _ := all(query)
			b.same(got, []string{users[5_000].ID})
		}
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

// sameSet checks a list of ids whose order does not matter.
func (b *bundle) sameSet(got []string, want ...string) {
	b.Helper()
	slices.Sort(got)
	slices.Sort(want)
	b.same(got, want)
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
			if len(page.Users) > limit {
				b.Fatalf("a page has %d users, limit %d", len(page.Users), limit)
			}
			pages = append(pages, idsOf(page.Users)...)
			if page.Next == (store.Position{}) {
				break
			}
			query.After = page.Next
		}
		b.same(pages, all)
	}
}
