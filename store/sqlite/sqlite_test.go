package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
	"github.com/example/userd/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(victimEnv); path != "" {
		os.Exit(writeUntilKilled(path))
	}
	goleak.VerifyTestMain(m)
}

// A change that this process commits ends Wait at once: nobody looks for those of
// others here.
func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, sqlite.Config{Path: newPath(t), PollInterval: time.Hour})
	})
}

func TestModel(t *testing.T) {
	t.Parallel()
	storetest.RunModel(t, func(t *testing.T) store.Store { return openNew(t) })
}

func TestDelivery(t *testing.T) {
	s := openNew(t)
	storetest.Delivery(t, s, s)
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "userd.db") }

func openPath(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	return open(t, sqlite.Config{Path: path})
}

func openNew(t testing.TB) *sqlite.Store {
	t.Helper()
	return openPath(t, newPath(t))
}

func open(t testing.TB, config sqlite.Config) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, s) })
	return s
}

func mustClose(t testing.TB, s *sqlite.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// newUser returns a user to create, with an id and an email of its own.
func newUser() store.NewUser {
	id := uuid.NewString()
	return store.NewUser{ID: id, Email: id + "@example.com", DisplayName: "Ada"}
}

func mustCreate(t testing.TB, s store.Store) store.User {
	t.Helper()
	user, err := s.Create(t.Context(), newUser())
	if err != nil {
		t.Fatal(err)
	}
	return user.User
}

func mustHead(t testing.TB, s store.Store) store.Cursor {
	t.Helper()
	head, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// allIDs returns the ids of all users, none of whom may come twice.
func allIDs(t testing.TB, s store.Store) map[string]bool {
	t.Helper()
	page, err := s.List(t.Context(), store.Query{Limit: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, user := range page.Users {
		if ids[user.ID] {
			t.Errorf("user %s is there twice", user.ID)
		}
		ids[user.ID] = true
	}
	return ids
}

func checkLog(t testing.TB, s store.Store) {
	t.Helper()
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
}

func Benchmark(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) store.Store { return openNew(b) })
}
