package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/example/userd/store"
)

// RunCopy checks the sentences of store.Copyable and store.Copy for copies from one
// engine to another, or to itself. Each call of from and to opens a store of its own,
// which is empty and ends with the test.
func RunCopy(t *testing.T, from, to func(t testing.TB) store.Copyable) {
	for name, test := range map[string]func(t *testing.T, from, to store.Copyable){
		"a copy has the same users and deleted ids":            copyIsTheSame,
		"an interrupted copy goes on where it stopped":         copyGoesOn,
		"a store with users is refused":                        copyRefusesUsers,
		"a store with deleted users is refused":                copyRefusesDeleted,
		"a begun copy of another store is refused":             copyRefusesAnother,
		"a difference in the end is an error":                  copyCompares,
		"deleted users are listed in the order of their ids":   copyListsDeleted,
		"loading stores all or none and writes no change":      copyLoadsAllOrNone,
		"a copy is a store like any other when it is complete": copyIsAStore,
		"the lowest id of all is copied":                       copyHasTheLowestID,
		"a user at the last version there is stays as it is":   copyHasTheLastVersion,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, from(t), to(t))
		})
	}
}

// fillForCopy stores n users, of whom some have been changed or deleted.
func fillForCopy(t *testing.T, s store.Store, n int) {
	t.Helper()
	users := make([]store.NewUser, n)
	for i := range users {
		users[i] = store.NewUser{
			ID: uuid.NewString(), Email: fmt.Sprintf("User%d@Example.com", i), DisplayName: fmt.Sprintf("Üser %d", i),
			Roles: []string{"member", "reader"}[:i%3%2],
		}
		if i%5 == 0 {
			full := fullUser()
			users[i].Disabled, users[i].Attributes, users[i].ExternalID = i%2 == 0, full.Attributes, full.ExternalID
			users[i].LastLogin = full.LastLogin
		}
	}
	for part := range slices.Chunk(users, 1000) { // In one, a busy machine seems frozen to PostgreSQL.
		check(t, second(s.Import(t.Context(), part)))
	}
	for i := range min(n, 60) {
		id := users[i].ID
		switch i % 4 {
		case 0:
			check(t, second(s.Delete(t.Context(), id, 0)))
		case 1:
			check(t, second(s.Update(t.Context(), store.Update{ID: id, AddRoles: []string{"admin", "reader"}})))
		case 2:
			if !users[i].Disabled {
				check(t, second(s.RecordLogin(t.Context(), id, time.Unix(1e9, 123_456_000), 0)))
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func noProgress(int64, int64) {}

// dump returns what Copy has to carry.
func dump(t *testing.T, s store.Copyable) ([]store.User, []store.DeletedUser) {
	t.Helper()
	page, err := s.List(t.Context(), store.Query{Limit: 100_000})
	check(t, err)
	deleted, err := s.ListDeleted(t.Context(), "", 100_000)
	check(t, err)
	return page.Users, deleted
}

func sameContents(t *testing.T, from, to store.Copyable) {
	t.Helper()
	users, deleted := dump(t, from)
	gotUsers, gotDeleted := dump(t, to)
	if diff := cmp.Diff(users, gotUsers); diff != "" {
		t.Errorf("users: %s", diff)
	}
	if diff := cmp.Diff(deleted, gotDeleted); diff != "" {
		t.Errorf("deleted users: %s", diff)
	}
}

func copyIsTheSame(t *testing.T, from, to store.Copyable) {
	fillForCopy(t, from, 100)
	var done, total int64
	check(t, store.Copy(t.Context(), from, to, func(d, n int64) { done, total = d, n }))
	if done != 100 || total != 100 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	sameContents(t, from, to)
}

// interrupted is a store whose connection is lost after some parts of a copy.
type interrupted struct {
	store.Copyable
	parts int
}

var errInterrupted = errors.New("interrupted")

func (i *interrupted) Load(ctx context.Context, load store.Load) error {
	if i.parts--; i.parts < 0 {
		return errInterrupted
	}
	return i.Copyable.Load(ctx, load)
}

func copyGoesOn(t *testing.T, from, to store.Copyable) {
	fillForCopy(t, from, 12_000)
	loaded := int64(0)
	isUnfinished := func(want bool) {
		t.Helper()
		if unfinished, err := to.Unfinished(t.Context()); err != nil || unfinished != want {
			t.Errorf("with %d rows a copy is unfinished: %v, error %v", loaded, unfinished, err)
		}
	}
	for _, parts := range []int{0, 1, 2, 3, 2} {
		err := store.Copy(t.Context(), from, &interrupted{to, parts}, noProgress)
		if !errors.Is(err, errInterrupted) {
			t.Fatal(err)
		}
		contents, err := to.Contents(t.Context())
		check(t, err)
		if contents.Users+contents.Deleted < loaded {
			t.Fatalf("%d rows after %d", contents.Users+contents.Deleted, loaded)
		}
		loaded = contents.Users + contents.Deleted
		isUnfinished(parts > 0)
	}
	check(t, store.Copy(t.Context(), from, to, noProgress))
	isUnfinished(false)
	sameContents(t, from, to)
}

func wantNotEmpty(t *testing.T, from, to store.Copyable) {
	t.Helper()
	if err := store.Copy(t.Context(), from, to, noProgress); !errors.Is(err, store.ErrNotEmpty) {
		t.Errorf("copy: %v", err)
	}
}

func copyRefusesUsers(t *testing.T, from, to store.Copyable) {
	fillForCopy(t, to, 2)
	wantNotEmpty(t, from, to)
}

func copyRefusesDeleted(t *testing.T, from, to store.Copyable) {
	fillForCopy(t, to, 1)
	wantNotEmpty(t, from, to)
}

func copyRefusesAnother(t *testing.T, from, to store.Copyable) {
	fillForCopy(t, from, 10)
	users, _ := dump(t, from)
	check(t, to.Load(t.Context(), store.Load{CopyOf: uuid.NewString(), Users: users[:1]}))
	wantNotEmpty(t, from, to)
}

// tampered is a store that loads something else.
type tampered struct{ store.Copyable }

func (s tampered) Load(ctx context.Context, load store.Load) error {
	for i := range load.Users {
		load.Users[i].UpdatedAt = load.Users[i].UpdatedAt.Add(time.Microsecond)
	}
	return s.Copyable.Load(ctx, load)
}

func copyCompares(t *testing.T, from, to store.Copyable) {
	fillForCopy(t, from, 10)
	if err := store.Copy(t.Context(), from, tampered{to}, noProgress); err == nil {
		t.Error("a difference was not found")
	}
}

func copyListsDeleted(t *testing.T, from, _ store.Copyable) {
	fillForCopy(t, from, 60)
	_, all := dump(t, from)
	if len(all) != 15 || !slices.IsSortedFunc(all, func(a, b store.DeletedUser) int { return strings.Compare(a.ID, b.ID) }) {
		t.Fatalf("deleted users are %v", all)
	}
	var paged []store.DeletedUser
	for after := ""; ; after = paged[len(paged)-1].ID {
		page, err := from.ListDeleted(t.Context(), after, 4)
		check(t, err)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
	}
	if diff := cmp.Diff(all, paged); diff != "" {
		t.Error(diff)
	}
	contents, err := from.Contents(t.Context())
	check(t, err)
	users, _ := dump(t, from)
	want := store.Contents{Users: 45, Deleted: 15, Last: users[44].Position(), LastDeleted: all[14].ID}
	if diff := cmp.Diff(want, contents); diff != "" {
		t.Error(diff)
	}
}

func copyLoadsAllOrNone(t *testing.T, from, to store.Copyable) {
	fillForCopy(t, from, 10)
	users, deleted := dump(t, from)
	load := store.Load{CopyOf: uuid.NewString(), Users: append(users, users[0]), Deleted: deleted}
	if err := to.Load(t.Context(), load); err == nil {
		t.Error("a user was loaded twice")
	}
	contents, err := to.Contents(t.Context())
	check(t, err)
	if contents != (store.Contents{}) {
		t.Errorf("contents are %+v", contents)
	}
	load.Users = users
	check(t, to.Load(t.Context(), load))
	changes, _, err := to.Changes(t.Context(), store.Earliest, 10)
	check(t, err)
	if len(changes) > 0 {
		t.Errorf("changes are %v", changes)
	}
}

func copyHasTheLowestID(t *testing.T, from, to store.Copyable) {
	id := uuid.Nil.String()
	check(t, second(from.Create(t.Context(), store.NewUser{ID: id, Email: "nil@example.com", DisplayName: "Nil"})))
	check(t, second(from.Delete(t.Context(), id, 0)))
	check(t, store.Copy(t.Context(), from, to, noProgress))
	sameContents(t, from, to)
	_, err := to.Create(t.Context(), store.NewUser{ID: id, Email: "again@example.com", DisplayName: "Again"})
	if !errors.Is(err, store.ErrIDTaken) {
		t.Errorf("create of a deleted id: %v", err)
	}
}

func copyHasTheLastVersion(t *testing.T, _, to store.Copyable) {
	last := store.User{
		ID: uuid.NewString(), Email: "last@example.com", DisplayName: "Last", Version: math.MaxInt64,
		CreatedAt: time.Unix(1e9, 0).UTC(), UpdatedAt: time.Unix(1e9, 0).UTC(),
	}
	other := last
	other.ID, other.Email, other.Version = uuid.NewString(), "other@example.com", 7
	check(t, to.Load(t.Context(), store.Load{CopyOf: uuid.NewString(), Users: []store.User{last, other}, Last: true}))

	updated, err := to.UpdateMany(t.Context(), []store.Update{
		{ID: last.ID, Email: new("new@example.com")}, {ID: other.ID, DisplayName: new("New")}, {ID: last.ID},
	})
	check(t, err)
	if updated[0].Err == nil || updated[1].Version != other.Version+1 || updated[2].Err != nil {
		t.Errorf("updates are %+v", updated)
	}
	imported, err := to.Import(t.Context(), []store.NewUser{
		{ID: last.ID, Email: last.Email, DisplayName: "New", OnConflict: store.UpdateOnConflict},
		{ID: other.ID, Email: other.Email, DisplayName: "Newer", OnConflict: store.UpdateOnConflict},
	})
	check(t, err)
	if imported[0].Err == nil || imported[1].Version != other.Version+2 {
		t.Errorf("rows of an import are %+v", imported)
	}
	for call, err := range map[string]error{
		"update": second(to.Update(t.Context(), store.Update{ID: last.ID, DisplayName: new("New")})),
		"login":  second(to.RecordLogin(t.Context(), last.ID, time.Unix(2e9, 0), 0)),
		"delete": second(to.Delete(t.Context(), last.ID, 0)),
	} {
		if err == nil {
			t.Errorf("%s: the user has a version after the last", call)
		}
	}
	if user, err := to.Get(t.Context(), last.ID); err != nil || !cmp.Equal(user, last) {
		t.Errorf("the user is %+v, error %v", user, err)
	}
}

func copyIsAStore(t *testing.T, from, to store.Copyable) {
	fillForCopy(t, from, 20)
	users, deleted := dump(t, from)
	check(t, store.Copy(t.Context(), from, to, noProgress))
	wantNotEmpty(t, from, to)

	created, err := to.Create(t.Context(), store.NewUser{ID: uuid.NewString(), Email: "new@example.com", DisplayName: "New"})
	check(t, err)
	if last := users[len(users)-1]; !created.CreatedAt.After(last.CreatedAt) {
		t.Errorf("created at %v, before the last of the copy at %v", created.CreatedAt, last.CreatedAt)
	}
	_, err = to.Create(t.Context(), store.NewUser{ID: deleted[0].ID, Email: "old@example.com", DisplayName: "Old"})
	if !errors.Is(err, store.ErrIDTaken) {
		t.Errorf("create of a deleted id: %v", err)
	}
	updated, err := to.Update(t.Context(), store.Update{ID: users[0].ID, ExpectedVersion: users[0].Version, AddRoles: []string{"owner"}})
	check(t, err)
	if updated.Version != users[0].Version+1 {
		t.Errorf("updated to version %d", updated.Version)
	}
	found, err := to.List(t.Context(), store.Query{Role: "owner", NameContains: "üser", Limit: 10})
	check(t, err)
	if diff := cmp.Diff([]store.User{updated.User}, found.Users); diff != "" {
		t.Error(diff)
	}
}
