package postgres_test

import (
	"errors"
	"fmt"
	"slices"
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
				created, err := s.Import(t.Context(), users)
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
				_, err := s.Import(t.Context(), rows)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnImportWhoseCommitFailsStoresNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		trigger string
		want    error
	}{
		"it conflicts":          {conflictAtCommitSQL, store.ErrConflict},
		"its connection breaks": {breakAtCommitSQL, store.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, url := openNew(t)
			run(t, connect(t, url), test.trigger)
			user := newUser()
			if _, err := s.Import(t.Context(), []store.NewUser{user}); !errors.Is(err, test.want) {
				t.Errorf("import: %v, want %v", err, test.want)
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
	if _, err := s.Import(t.Context(), users); err != nil {
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
