package sqlite_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// manyMembers are so many that a walk past them takes more than a page. The last has a name
// that no other has.
func manyMembers() (members []store.NewUser, rare store.NewUser) {
	for i := range 10_100 {
		members = append(members, store.NewUser{
			ID: uuid.NewString(), Email: fmt.Sprintf("u%d@example.com", i), DisplayName: fmt.Sprintf("Member %d", i),
		})
	}
	last := &members[len(members)-1]
	last.DisplayName = `Šárka 50%_\ "off" İ`
	return members, *last
}

// openWithMembers opens a store of many members.
func openWithMembers(t testing.TB) (s *sqlite.Store, path string, members []store.NewUser, rare store.NewUser) {
	t.Helper()
	path = newPath(t)
	s = openPath(t, path)
	s.SearchWithoutLimit()
	members, rare = manyMembers()
	importAll(t, s, members)
	return s, path, members, rare
}

func importAll(t testing.TB, s store.Store, users []store.NewUser) {
	t.Helper()
	rows, err := s.Import(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if row.Err != nil {
			t.Fatal(row.Err)
		}
	}
}

// checkNamed checks that one page has all users whose names contain a text.
func checkNamed(t testing.TB, s store.Store, text string, ids ...string) {
	t.Helper()
	got, whole := named(t, s, text)
	if !whole || !slices.Equal(got, ids) {
		t.Errorf("%q: the first page has %v, want %v, and there are others: %t", text, got, ids, !whole)
	}
}

// awaitNamed waits until one page has all users whose names contain a text.
func awaitNamed(t testing.TB, s store.Store, text string, ids ...string) {
	t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for giveUp := time.After(5 * time.Minute); ; {
		got, whole := named(t, s, text)
		if whole && slices.Equal(got, ids) {
			return
		}
		select {
		case <-look.C:
		case <-giveUp:
			t.Fatalf("%q: the first page has %v, want %v, and there are others: %t", text, got, ids, !whole)
		}
	}
}

func named(t testing.TB, s store.Store, text string) (ids []string, whole bool) {
	t.Helper()
	page, err := s.List(t.Context(), store.Query{NameContains: text, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range page.Users {
		ids = append(ids, user.ID)
	}
	return ids, page.Next == store.Position{}
}

func TestARareNameIsFoundInOnePage(t *testing.T) {
	t.Parallel()
	s, path, _, rare := openWithMembers(t)
	awaitNamed(t, s, "sark", rare.ID)
	for _, text := range []string{`50%_\ "`, `"OFF" i̇`, rare.DisplayName} {
		checkNamed(t, s, text, rare.ID)
	}
	checkNamed(t, s, "quetzal")
	checkNamed(t, s, "sar member")

	// What has just been written is found, too.
	mustUpdate(t, s, rare.ID, "Zoë Quetzal")
	checkNamed(t, s, "quetzal", rare.ID)
	checkNamed(t, s, "sark")
	created := mustCreate(t, s)
	mustUpdate(t, s, created.ID, "Ella Quetzal")
	checkNamed(t, s, "quetzal", rare.ID, created.ID)
	sqlite3(t, path, `update users set display_name = 'Ella Umbra' where id = '`+created.ID+`'`)
	checkNamed(t, s, "UMBRA", created.ID)
	awaitNamed(t, s, "quetzal", rare.ID)
	if _, err := s.Delete(t.Context(), rare.ID, 0); err != nil {
		t.Fatal(err)
	}
	checkNamed(t, s, "quetzal")
	awaitIndexed(t, path)
	checkNamed(t, s, "quetzal")
	checkNamed(t, s, "umbra", created.ID)
}

// awaitIndexed waits until the index of names has seen all changes, and checks it.
func awaitIndexed(t testing.TB, path string) {
	t.Helper()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for giveUp := time.After(5 * time.Minute); sqlite3(t, path, `select listed is null and followed = (select max(seq) from changes) from user_names_state`) != "1"; {
		select {
		case <-look.C:
		case <-giveUp:
			t.Fatal("the index of names falls behind")
		}
	}
	checkTrigrams(t, path)
	if got := sqlite3(t, path, `select (select count(*) from users) = (select count(*) from user_names)`); got != "1" {
		t.Error("the index of names has other users than there are")
	}
}

// checkTrigrams has FTS5 compare the trigrams with the names. It waits for the store's writes.
func checkTrigrams(t testing.TB, path string) {
	t.Helper()
	conn, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	end, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer end(&err)
	err = sqlitex.Execute(conn, `insert into user_names_trigrams (user_names_trigrams, rank) values ('integrity-check', 1)`, nil)
	if err != nil {
		t.Error(err)
	}
}

func TestNamesOfAnOlderFileAreFound(t *testing.T) {
	t.Parallel()
	s, path, _, rare := openWithMembers(t)
	mustClose(t, s)
	toVersion3(t, path)
	s = openPath(t, path)
	s.SearchWithoutLimit()
	awaitNamed(t, s, "sark", rare.ID)
	awaitIndexed(t, path)
}

// Changes that were removed before the index has seen them make it start anew.
func TestTheIndexOfNamesStartsAnewWhereChangesAreGone(t *testing.T) {
	t.Parallel()
	s, path, members, rare := openWithMembers(t)
	awaitIndexed(t, path)
	mustClose(t, s)
	sqlite3(t, path, `update users set display_name = 'Zoë Quetzal' where id = '`+rare.ID+`'`)
	sqlite3(t, path, `delete from users where id = '`+members[0].ID+`'`)
	script(t, path, `update meta set pruned = (select max(seq) from changes)`)
	script(t, path, `delete from changes`)
	s = openPath(t, path)
	s.SearchWithoutLimit()
	awaitNamed(t, s, "quetzal", rare.ID)
	checkNamed(t, s, "sark")
	checkNamed(t, s, "Member 0")
	mustUpdate(t, s, rare.ID, "Ella")
	awaitIndexed(t, path)
}

// A copy is not in the log.
func TestNamesOfACopyAreFound(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	s.SearchWithoutLimit()
	var users []store.User
	members, rare := manyMembers()
	for i, member := range members {
		at := time.UnixMicro(int64(i)).UTC()
		users = append(users, store.User{
			ID: member.ID, Email: member.Email, DisplayName: member.DisplayName, CreatedAt: at, UpdatedAt: at, Version: 1,
		})
	}
	if err := s.Load(t.Context(), store.Load{CopyOf: "another", Users: users, Last: true}); err != nil {
		t.Fatal(err)
	}
	awaitNamed(t, s, "sark", rare.ID)
}

// A file that is read by a tool beside the server has the index, too.
func TestASharedFileUsesTheIndexOfNames(t *testing.T) {
	t.Parallel()
	_, path, _, rare := openWithMembers(t)
	awaitIndexed(t, path)
	tool, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tool.Close()
	tool.SearchWithoutLimit()
	checkNamed(t, tool, "sark", rare.ID)
}
