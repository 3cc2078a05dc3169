package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// The victim is this test program, started anew with this variable: it writes to the
// store in the file that the variable names, until it is killed, and prints what was
// acknowledged.
const victimEnv = "USERD_TEST_VICTIM"

// acknowledged is a line of a victim.
type acknowledged struct {
	id      string
	version int64
	kind    store.Kind
}

// writeUntilKilled is the victim's main function.
func writeUntilKilled(path string) int {
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: path})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				if err := live(s); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
			}
		})
	}
	group.Wait()
	return 1
}

// live makes three users, changes one and deletes another.
func live(s store.Store) error {
	ctx := context.Background()
	user, err := s.Create(ctx, newUser())
	if err != nil {
		return err
	}
	acknowledge(user.ID, 1, store.Upserted)
	imported, err := s.Import(ctx, []store.NewUser{newUser(), newUser()})
	if err != nil {
		return err
	}
	for _, row := range imported {
		acknowledge(row.ID, 1, store.Upserted)
	}
	user, err = s.Update(ctx, store.Update{ID: user.ID, AddRoles: []string{"admin"}})
	if err != nil {
		return err
	}
	acknowledge(user.ID, user.Version, store.Upserted)
	version, err := s.Delete(ctx, imported[0].ID, 0)
	if err != nil {
		return err
	}
	acknowledge(imported[0].ID, version, store.Deleted)
	return nil
}

func acknowledge(id string, version int64, kind store.Kind) {
	fmt.Println(id, version, kind) // One write, so lines do not mix.
}

func TestWhatIsAcknowledgedSurvivesKill(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var all []acknowledged
	for round := range 3 {
		all = append(all, killAfter(t, path, 80+60*round)...)
		s := openPath(t, path)
		checkLog(t, s)
		checkAcknowledged(t, s, all)
		awaitIndexed(t, path)
		allIDs(t, s)
		mustClose(t, s)
	}
	t.Logf("%d acknowledged writes", len(all))
}

// killAfter runs a victim, kills it when it has printed some lines and returns all
// that it has printed.
func killAfter(t *testing.T, path string, lines int) (printed []acknowledged) {
	t.Helper()
	victim := exec.Command(os.Args[0])
	victim.Env, victim.Stderr = append(os.Environ(), victimEnv+"="+path), os.Stderr
	output, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(output)
	for scanner.Scan() {
		var line acknowledged
		if _, err := fmt.Sscan(scanner.Text(), &line.id, &line.version, &line.kind); err != nil {
			t.Errorf("line %q: %v", scanner.Text(), err)
		}
		printed = append(printed, line)
		if len(printed) == lines {
			if err := victim.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := victim.Wait(); err == nil || len(printed) < lines {
		t.Fatalf("the victim ended with %v after %d lines", err, len(printed))
	}
	return printed
}

// checkAcknowledged checks that every user is at the last version that was
// acknowledged, or later.
func checkAcknowledged(t *testing.T, s store.Store, all []acknowledged) {
	t.Helper()
	last := make(map[string]acknowledged)
	for _, line := range all {
		last[line.id] = line
	}
	for id, line := range last {
		user, err := s.Get(t.Context(), id)
		gone := errors.Is(err, store.ErrNotFound)
		if err != nil && !gone {
			t.Fatal(err)
		}
		if line.kind == store.Deleted && !gone || line.kind == store.Upserted && !gone && user.Version < line.version {
			t.Errorf("%+v was acknowledged, stored is %+v", line, user)
		}
		if gone {
			checkGone(t, s, line)
		}
	}
}

// checkGone checks that an acknowledged user who is not there was deleted.
func checkGone(t *testing.T, s store.Store, line acknowledged) {
	t.Helper()
	user := newUser()
	user.ID = line.id
	created, err := s.Import(t.Context(), []store.NewUser{user})
	if err != nil || !errors.Is(created[0].Err, store.ErrIDTaken) {
		t.Errorf("%+v was acknowledged, and the id was never used", line)
	}
}
