package postgres_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
	"github.com/example/userd/store/storetest"
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

// A row whose email an earlier row of the import takes, and whose id another user has.
func TestAnImportLooksAtTheIDFirst(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	user, first := mustCreate(t, s), newUser()
	results, err := s.Import(t.Context(), []store.NewUser{first, {ID: user.ID, Email: first.Email, DisplayName: "Ada"}})
	if err != nil || results[0].Err != nil || !errors.Is(results[1].Err, store.ErrIDTaken) {
		t.Errorf("results are %v, %v", results, err)
	}
}

// A unique index looks at every row as it is written, not at the end of the statement.
func TestUpdatesPassKeysRound(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	users := make([]store.NewUser, 3)
	for i := range users {
		users[i] = newUser()
		users[i].ExternalID = fmt.Sprintf("external %d", i)
	}
	if _, err := s.Import(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	first, second, third := users[0], users[1], users[2]
	updates := []store.Update{
		{ID: first.ID, Email: &third.Email}, // It still is another's.
		{ID: first.ID, Email: new("first@example.com"), ExternalID: new("")},
		{ID: second.ID, Email: new(strings.ToUpper(first.Email)), ExternalID: &first.ExternalID},
		{ID: third.ID, Email: &second.Email, ExternalID: &second.ExternalID},
		{ID: first.ID, Email: &third.Email, ExternalID: &third.ExternalID},
		{ID: second.ID, Email: &third.Email},
	}
	updated, err := s.UpdateMany(t.Context(), updates)
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range updated {
		want := error(nil)
		if i == 0 || i == len(updated)-1 {
			want = store.ErrEmailTaken
		}
		if !errors.Is(result.Err, want) {
			t.Errorf("update %d: %v, want %v", i, result.Err, want)
		}
	}
	for id, want := range map[string]store.NewUser{first.ID: third, second.ID: first, third.ID: second} {
		got, err := s.GetByEmail(t.Context(), want.Email)
		if err != nil || got.ID != id || got.ExternalID != want.ExternalID {
			t.Errorf("%s is of %+v, %v, want %s", want.Email, got, err, id)
		}
	}
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// Roles that no call gives stay as another program has written them.
func TestForeignRolesStay(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user := mustCreate(t, s)
	run(t, connect(t, url), `update users set roles = array['cn=admin,dc=example'] where id = $1`, user.ID)
	updated, err := s.UpdateMany(t.Context(), []store.Update{{ID: user.ID, AddRoles: []string{"reader"}}})
	if err != nil || updated[0].Err != nil {
		t.Fatalf("%v, %v", updated, err)
	}
	if got, err := s.Get(t.Context(), user.ID); err != nil || !slices.Equal(got.Roles, []string{"cn=admin,dc=example", "reader"}) {
		t.Errorf("roles are %q, error %v", got.Roles, err)
	}
}

// Calls that take keys from one another, in any order, end, and nobody gets two answers.
func TestKeysThatManyWantAtOnce(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	const users, rounds = 12, 20
	ids := make([]string, users)
	for i := range ids {
		ids[i] = mustCreate(t, s).ID
	}
	key := func() string { return fmt.Sprintf("key%d@example.com", rand.IntN(users)) }
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			for range rounds {
				var updates []store.Update
				var rows []store.NewUser
				for range 5 {
					updates = append(updates, store.Update{ID: ids[rand.IntN(users)], Email: new(key()), ExternalID: new(key())})
					row := newUser()
					row.Email, row.ExternalID = key(), key()
					rows = append(rows, row)
				}
				if _, err := s.UpdateMany(t.Context(), updates); err != nil && !errors.Is(err, store.ErrConflict) {
					return err
				}
				if _, err := s.Import(t.Context(), rows[:1]); err != nil && !errors.Is(err, store.ErrConflict) {
					return err
				}
				if _, err := s.Update(t.Context(), updates[0]); err != nil && !taken(err) && !errors.Is(err, store.ErrConflict) {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := storetest.CheckLog(t.Context(), s); err != nil {
		t.Error(err)
	}
}

func taken(err error) bool {
	return errors.Is(err, store.ErrEmailTaken) || errors.Is(err, store.ErrExternalIDTaken)
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
