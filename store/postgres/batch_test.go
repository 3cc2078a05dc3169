package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
)

func TestImportsOfTheSameEmailsAtOnce(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	for round := range 5 {
		const importers, rows = 4, 300
		stored := make([]int, importers)
		var group errgroup.Group
		for importer := range importers {
			users := make([]store.NewUser, rows)
			for i := range users {
				users[i] = newUser()
				users[i].Email = fmt.Sprintf("%d-%d@example.com", round, i)
			}
			if importer%2 == 1 {
				slices.Reverse(users)
			}
			group.Go(func() error {
				created, err := s.Import(t.Context(), users, nil)
				for _, row := range created {
					if row.Err == nil {
						stored[importer]++
					}
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if total := stored[0] + stored[1] + stored[2] + stored[3]; total != rows {
			t.Fatalf("%d users were stored (%v), want %d", total, stored, rows)
		}
	}
}

// Two transactions that insert the same ids and emails in different orders are a
// deadlock that no order of the rows avoids.
func TestImportRunsAgainAfterADeadlock(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	for round := range 10 {
		users := make([]store.NewUser, 100)
		others := make([]store.NewUser, len(users))
		for i := range users {
			users[i], others[i] = newUser(), newUser()
			users[i].Email = fmt.Sprintf("%d-%d@example.com", round, i)
		}
		for i := range others {
			others[i].ID = users[len(users)-1-i].ID
		}
		var group errgroup.Group
		for _, rows := range [][]store.NewUser{users, others} {
			group.Go(func() error {
				_, err := s.Import(t.Context(), rows, nil)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// imported is the outcome of an import, row by row.
func imported(t *testing.T, users []store.NewUser, created []store.Created, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for i, row := range created {
		switch {
		case errors.Is(row.Err, store.ErrEmailTaken):
			text = append(text, "email taken")
		case row.Err == nil && row.ID == users[i].ID:
			text = append(text, "stored")
		default:
			t.Fatalf("row %d is %+v", i, row)
		}
	}
	return strings.Join(text, ", ")
}

func TestAnImportIsPreparedWhileAnotherIsCommitted(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	first, second := []store.NewUser{newUser()}, []store.NewUser{newUser(), newUser()}
	prepared, committed := make(chan struct{}), make(chan struct{})
	var later []store.Created
	var group errgroup.Group
	created, err := s.Import(t.Context(), first, func() error {
		group.Go(func() (err error) {
			later, err = s.Import(t.Context(), second, func() error {
				close(prepared)
				<-committed
				return nil
			})
			return err
		})
		<-prepared
		return nil
	})
	if got := imported(t, first, created, err); got != "stored" {
		t.Errorf("the first import: %s", got)
	}
	if _, err := s.Get(t.Context(), second[0].ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a user whose turn has not come: %v", err)
	}
	close(committed)
	err = group.Wait()
	if got := imported(t, second, later, err); got != "stored, stored" {
		t.Errorf("the second import: %s", got)
	}
}

func TestAnImportMeetsTheRowsOfTheOneBefore(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	first, second := []store.NewUser{newUser()}, []store.NewUser{newUser(), newUser()}
	second[0].Email = first[0].Email
	committed := make(chan struct{})
	var later []store.Created
	var group errgroup.Group
	created, err := s.Import(t.Context(), first, func() error {
		group.Go(func() (err error) {
			later, err = s.Import(t.Context(), second, func() error { <-committed; return nil })
			return err
		})
		awaitBlocked(t, url)
		return nil
	})
	close(committed)
	if got := imported(t, first, created, err); got != "stored" {
		t.Errorf("the first import: %s", got)
	}
	err = group.Wait()
	if got := imported(t, second, later, err); got != "email taken, stored" {
		t.Errorf("the second import: %s", got)
	}
}

// Whoever comes next relies on the answer, so an import asks for its turn once.
func TestAnImportThatDoesNotGetThroughAfterItsTurn(t *testing.T) {
	t.Parallel()
	refused := errors.New("not yet")
	for name, test := range map[string]struct {
		before string // SQL
		turn   func(t *testing.T, url string) error
		want   error
	}{
		"it is refused": {turn: func(*testing.T, string) error { return refused }, want: refused},
		"its connection breaks": {
			turn: func(t *testing.T, url string) error {
				run(t, connect(t, url), terminateOthersSQL)
				return nil
			},
			want: store.ErrUnavailable,
		},
		"its commit conflicts": {
			before: conflictAtCommitSQL,
			turn:   func(*testing.T, string) error { return nil },
			want:   store.ErrConflict,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, url := openNew(t)
			run(t, connect(t, url), test.before)
			user, turns := newUser(), 0
			_, err := s.Import(t.Context(), []store.NewUser{user}, func() error {
				turns++
				return test.turn(t, url)
			})
			if !errors.Is(err, test.want) || turns != 1 {
				t.Errorf("import: %v after %d turns, want %v after one", err, turns, test.want)
			}
			if _, err := s.Get(t.Context(), user.ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("get: %v, want none", err)
			}
		})
	}
}

func TestUpdatesOfTheSameUsersAtOnce(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	users := make([]store.NewUser, 50)
	for i := range users {
		users[i] = newUser()
	}
	if _, err := s.Import(t.Context(), users, nil); err != nil {
		t.Fatal(err)
	}
	const writers = 4
	var group errgroup.Group
	for writer := range writers {
		var updates []store.Update
		for _, user := range users {
			updates = append(updates, store.Update{ID: user.ID, AddRoles: []string{fmt.Sprintf("role%d", writer)}})
		}
		if writer%2 == 1 {
			slices.Reverse(updates)
		}
		group.Go(func() error {
			_, err := s.UpdateMany(t.Context(), updates)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, user := range users {
		if got, err := s.Get(t.Context(), user.ID); err != nil || got.Version != 1+writers || len(got.Roles) != writers {
			t.Fatalf("user is %+v, %v", got, err)
		}
	}
}

func TestAnImportDoesNotBlockOtherWriters(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user := mustCreate(t, s)
	tx := begin(t, connect(t, url))
	for range 10 {
		insertUser(t, tx, newUser().ID, newUser().Email)
	}
	mustCreate(t, s)
	if _, err := s.Update(t.Context(), store.Update{ID: user.ID, AddRoles: []string{"admin"}}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}
