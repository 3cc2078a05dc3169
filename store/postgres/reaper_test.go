package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/google/uuid"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
)

// The frozen server is this test program, started anew with this variable: it imports
// frozenUsers into a database, and its exit code says how that went.
const frozenEnv = "USERD_TEST_FREEZE"

const (
	storedAll = iota
	failedOtherwise
	wasUnavailable
)

// frozenUsers are more than fit between a client and PostgreSQL.
func frozenUsers() []store.NewUser {
	users := make([]store.NewUser, 20_000)
	for i := range users {
		id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, i)).String()
		users[i] = store.NewUser{ID: id, Email: fmt.Sprintf("user%06d@example.com", i), DisplayName: "Ada"}
	}
	return users
}

func importAndFreeze() int {
	s, err := postgres.Open(context.Background(), postgres.Config{URL: os.Getenv(frozenEnv)})
	if err != nil {
		fmt.Fprintln(os.Stderr, "open:", err)
		return failedOtherwise
	}
	defer s.Close()
	users := frozenUsers()
	switch _, err = patiently(func() ([]store.Created, error) { return s.Import(context.Background(), users) }); {
	case err == nil:
		return storedAll
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrConflict):
		return wasUnavailable
	default:
		fmt.Fprintln(os.Stderr, "import:", err)
		return failedOtherwise
	}
}

func mustImport(t *testing.T, s store.Store, users []store.NewUser) []store.Created {
	t.Helper()
	results, err := s.Import(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	return results
}
