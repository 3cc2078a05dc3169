//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/storetest"
)

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
			for part := range slices.Chunk(users, 1000) { // In one, a busy machine seems frozen itself.
				for i, result := range mustImport(t, other, part) {
					if result.Err != nil {
						t.Fatalf("user %s: %v", part[i].Email, result.Err)
					}
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
