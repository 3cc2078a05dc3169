package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
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
	switch _, err = s.Import(context.Background(), frozenUsers()); {
	case err == nil:
		return storedAll
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrConflict):
		return wasUnavailable
	default:
		fmt.Fprintln(os.Stderr, "import:", err)
		return failedOtherwise
	}
}

// A server that is frozen in the middle of an import holds the others up for a few
// seconds, and stores nothing when it goes on.
func TestAFrozenServerDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	for name, through := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := storetest.Postgres(t, migrate)
			url, users, watch := through(t, direct), frozenUsers(), connect(t, direct)
			other := open(t, url)

			// The import waits for its first email, and is frozen while it does.
			hold := begin(t, connect(t, direct))
			insertUser(t, hold, newUser().ID, users[0].Email)
			frozen := exec.Command(os.Args[0])
			frozen.Env, frozen.Stderr = append(os.Environ(), frozenEnv+"="+url), os.Stderr
			if err := frozen.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = frozen.Process.Kill() })
			await(t, func() bool { return sessions(t, watch, `wait_event_type = 'Lock'`) > 0 })
			if err := frozen.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if err := hold.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			await(t, func() bool { return sessions(t, watch, `wait_event = 'ClientRead' and state = 'active'`) > 0 })
			since := time.Now()

			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			create := func() error { _, err := other.Create(ctx, users[0]); return err }
			for err := create(); err != nil; err = create() {
				if !errors.Is(err, store.ErrConflict) {
					t.Fatalf("a create %v after the freeze: %v", time.Since(since), err)
				}
			}
			t.Logf("creates go on %v after the freeze", time.Since(since))
			for i, result := range mustImport(t, other, users) {
				if result.Err != nil {
					t.Fatalf("user %d: %v", i, result.Err)
				}
			}
			if err := frozen.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if _ = frozen.Wait(); frozen.ProcessState.ExitCode() != wasUnavailable {
				t.Errorf("the frozen server ended with %v", frozen.ProcessState)
			}
			if contents, err := other.Contents(t.Context()); err != nil || contents.Users != int64(len(users)) {
				t.Errorf("%d users are stored, error %v, want %d", contents.Users, err, len(users))
			}
		})
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
