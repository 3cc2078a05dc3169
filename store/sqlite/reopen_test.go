package sqlite_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// contents is everything that can be read from a store.
type contents struct {
	Identity store.Identity
	Users    []store.User
	Admins   []store.User
	Changes  []store.Change
	Head     store.Cursor
}

func read(t testing.TB, s store.Store) (all contents) {
	t.Helper()
	var err error
	all.Identity, all.Head = s.Identity(), mustHead(t, s)
	list := func(role string) []store.User {
		page, err := s.List(t.Context(), store.Query{Limit: 1000, Role: role})
		if err != nil {
			t.Fatal(err)
		}
		return page.Users
	}
	all.Users, all.Admins = list(""), list("admin")
	if all.Changes, _, err = s.Changes(t.Context(), store.Earliest, 1000); err != nil {
		t.Fatal(err)
	}
	return all
}

// change makes changes of every kind and returns how many.
func change(t testing.TB, s store.Store) int {
	t.Helper()
	first, second, gone := mustCreate(t, s), mustCreate(t, s), mustCreate(t, s)
	_, err := s.Update(t.Context(), store.Update{ID: first.ID, DisplayName: new("Zoë"), AddRoles: []string{"admin", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RecordLogin(t.Context(), second.ID, time.Now(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(t.Context(), gone.ID, 0); err != nil {
		t.Fatal(err)
	}
	return 6
}

func TestEverythingSurvivesAReopening(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	change(t, s)
	want := read(t, s)
	mustClose(t, s)
	again := openPath(t, path)
	if diff := cmp.Diff(want, read(t, again)); diff != "" {
		t.Errorf("after reopening (-before +after):\n%s", diff)
	}
	change(t, again)
	checkLog(t, again)
}

func TestCursorsGoOnAfterAReopening(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	change(t, s)
	head := mustHead(t, s)
	missed := change(t, s)
	mustClose(t, s)
	s = openPath(t, path)
	missed += change(t, s)
	changes, next, err := s.Changes(t.Context(), head, 1000)
	if err != nil || len(changes) != missed {
		t.Fatalf("%d changes, want %d; error %v", len(changes), missed, err)
	}
	if !s.Covers(next, head) || !s.Covers(mustHead(t, s), next) {
		t.Errorf("cursors are %s, %s and %s", head, next, mustHead(t, s))
	}
}

func TestCursorsGoOnWhenThePrunedLogIsReopened(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	change(t, s)
	head := mustHead(t, s)
	if _, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = openPath(t, path)
	want := change(t, s)
	if changes, _, err := s.Changes(t.Context(), head, 1000); err != nil || len(changes) != want {
		t.Fatalf("%d changes, want %d; error %v", len(changes), want, err)
	}
}

// The clock of the machine may be set back, with the store open or closed.
func TestTimesIncreaseWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	now := time.Date(2026, 10, 25, 3, 0, 0, 0, time.UTC)
	var last time.Time
	for range 3 {
		s := open(t, sqlite.Config{Path: path, Now: func() time.Time { return now }})
		for range 3 {
			now = now.Add(-10 * time.Minute)
			created := mustCreate(t, s).CreatedAt
			if !created.After(last) {
				t.Errorf("created at %v, the user before at %v", created, last)
			}
			last = created
		}
		mustClose(t, s)
	}
	s := openPath(t, path)
	changes, _, err := s.Changes(t.Context(), store.Earliest, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range changes[1:] {
		if !changes[i+1].At.After(changes[i].At) {
			t.Errorf("%v comes after %v", changes[i+1], changes[i])
		}
	}
}

// Another program may have moved a user into the future. Others are made and changed now.
func TestAUserOfTheFutureMovesNoOthers(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	moved, other := mustCreate(t, s), mustCreate(t, s)
	sqlite3(t, path, `update users set created_at = 253402300799999999 where id = '`+moved.ID+`'`)
	mustClose(t, s)
	s = openPath(t, path)
	created := mustCreate(t, s)
	renamed, err := s.Update(t.Context(), store.Update{ID: other.ID, DisplayName: new("Grace")})
	if err != nil {
		t.Fatal(err)
	}
	if soon := time.Now().Add(time.Minute); created.CreatedAt.After(soon) || renamed.UpdatedAt.After(soon) {
		t.Errorf("a user is created at %v, another is changed at %v", created.CreatedAt, renamed.UpdatedAt)
	}
}

func TestTimesComeFromTheClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 25, 3, 0, 0, 123456789, time.FixedZone("", 7200))
	s := open(t, sqlite.Config{Path: newPath(t), Now: func() time.Time { return now }})
	if created := mustCreate(t, s).CreatedAt; created != now.UTC().Truncate(time.Microsecond) {
		t.Errorf("created at %v", created)
	}
}

// Another process, which has a store of its own, is the same as a second store here.
func TestASecondStoreOnOneFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	first, second := openPath(t, path), open(t, sqlite.Config{Path: path, Shared: true})
	if first.Identity() != second.Identity() {
		t.Error("the stores have two identities")
	}
	for range 5 {
		head := mustHead(t, first)
		ended := make(chan error, 1)
		go func() { ended <- waitFor(t, first, head) }()
		user := mustCreate(t, second)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if got, err := first.Get(t.Context(), user.ID); err != nil || got.Version != 1 {
			t.Errorf("user is %+v, error %v", got, err)
		}
	}
	checkLog(t, first)
}

// waitFor returns when there is a change after the cursor.
func waitFor(t testing.TB, s store.Store, after store.Cursor) error {
	for {
		if err := s.Wait(t.Context(), after); err != nil {
			return err
		}
		if changes, _, err := s.Changes(t.Context(), after, 1); err != nil || len(changes) > 0 {
			return err
		}
	}
}

func TestTwoStoresWriteToOneFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	stores := []*sqlite.Store{openPath(t, path), open(t, sqlite.Config{Path: path, Shared: true})}
	user := mustCreate(t, stores[0])
	ended := make(chan error, 4)
	for i := range cap(ended) {
		go func() { ended <- writeTo(t, stores[i%2], user.ID) }()
	}
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	if got, err := stores[1].Get(t.Context(), user.ID); err != nil || got.Version != 1+4*20 {
		t.Errorf("user is %+v, error %v", got, err)
	}
	checkLog(t, stores[0])
}

func writeTo(t testing.TB, s store.Store, id string) error {
	for range 20 {
		if _, err := s.Update(t.Context(), store.Update{ID: id, DisplayName: new(newUser().ID)}); err != nil {
			return err
		}
		if _, err := s.Import(t.Context(), []store.NewUser{newUser(), newUser()}); err != nil {
			return err
		}
	}
	return nil
}

func TestAServerThatStartsTenDaysAheadKeepsTheLog(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	head := mustHead(t, s)
	made := change(t, s)
	mustClose(t, s)
	s = open(t, sqlite.Config{Path: path, Now: func() time.Time { return time.Now().AddDate(0, 0, 10) }})
	pruner := store.Pruner{Store: s, Retention: 7 * 24 * time.Hour}
	for range 2 {
		if removed, err := pruner.Prune(t.Context()); removed != 0 || err != nil {
			t.Fatalf("removed %d, %v", removed, err)
		}
		made += change(t, s)
	}
	if changes, _, err := s.Changes(t.Context(), head, 1000); err != nil || len(changes) != made {
		t.Fatalf("%d changes, want %d; error %v", len(changes), made, err)
	}
}
