package postgres_test

import (
	"context"
	"os"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(followerEnv) != "" {
		os.Exit(follow())
	}
	if os.Getenv(frozenEnv) != "" {
		os.Exit(importAndFreeze())
	}
	goleak.VerifyTestMain(m)
}

// migrate makes the schema of the databases that tests get.
func migrate(ctx context.Context, url string) error {
	_, err := postgres.Migrate(ctx, postgres.Config{URL: url})
	return err
}

// openNew opens a store on a database of its own.
func openNew(t testing.TB) (*postgres.Store, string) {
	t.Helper()
	url := storetest.Postgres(t, migrate)
	return open(t, url), url
}

func open(t testing.TB, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
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
