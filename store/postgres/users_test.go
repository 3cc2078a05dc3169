package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/example/userd/store"
)

func TestConcurrentUpdatesOfOneUserAllCount(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	user := mustCreate(t, s)
	const writers, updates = 16, 30
	var versions [writers*updates + 2]atomic.Int64
	var group errgroup.Group
	for writer := range writers {
		role := fmt.Sprintf("role%d", writer)
		group.Go(func() error {
			for i := range updates {
				update := store.Update{ID: user.ID, AddRoles: []string{role}}
				if i%2 == 1 {
					update = store.Update{ID: user.ID, RemoveRoles: []string{role}}
				}
				updated, err := s.Update(t.Context(), update)
				if err != nil {
					return err
				}
				if slices.Contains(updated.Roles, role) != (i%2 == 0) {
					return fmt.Errorf("update %d of %s left %q", i, role, updated.Roles)
				}
				versions[updated.Version].Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for version := 2; version < len(versions); version++ {
		if n := versions[version].Load(); n != 1 {
			t.Errorf("version %d was returned %d times", version, n)
		}
	}
}

func TestExpectedVersionIsTakenByOne(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	user := mustCreate(t, s)
	for version := int64(1); version < 20; version++ {
		var won atomic.Int64
		var group errgroup.Group
		for writer := range 8 {
			group.Go(func() error {
				_, err := s.Update(t.Context(), store.Update{
					ID: user.ID, ExpectedVersion: version, DisplayName: new(fmt.Sprintf("%d by %d", version, writer)),
				})
				if err == nil {
					won.Add(1)
				}
				if errors.Is(err, store.ErrVersionMismatch) {
					return nil
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if won.Load() != 1 {
			t.Fatalf("%d updates of version %d succeeded", won.Load(), version)
		}
	}
}

func TestConcurrentCreatesOfOneEmailHaveOneWinner(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	for round := range 30 {
		var won atomic.Int64
		var group errgroup.Group
		for range 8 {
			user := newUser()
			user.Email = fmt.Sprintf("Round%d@example.com", round)
			group.Go(func() error {
				_, err := s.Create(t.Context(), user)
				if err == nil {
					won.Add(1)
				}
				if errors.Is(err, store.ErrEmailTaken) {
					return nil
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if won.Load() != 1 {
			t.Fatalf("%d creates of one email succeeded", won.Load())
		}
	}
}

func TestConcurrentCreatesOfOneUserAllSucceed(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	for range 30 {
		user := newUser()
		var group errgroup.Group
		for range 8 {
			group.Go(func() error {
				created, err := s.Create(t.Context(), user)
				if err == nil && created.Version != 1 {
					err = fmt.Errorf("version is %d", created.Version)
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// A create that waits for a deletion of its id must see that deletion, although it
// began before it was committed.
func TestCreateDoesNotTakeAnIDThatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	holder, deleter := connect(t, url), connect(t, url)
	id, email := newUser().ID, "held@example.com"

	// The create of id waits for this email.
	hold := begin(t, holder)
	insertUser(t, hold, newUser().ID, email)
	created := make(chan error, 1)
	go func() {
		_, err := s.Create(t.Context(), store.NewUser{ID: id, Email: email, DisplayName: "Late"})
		created <- err
	}()
	awaitBlocked(t, url)

	// Meanwhile the id is used and deleted by others.
	insertUser(t, deleter, id, "other@example.com")
	if _, err := s.Delete(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if err := hold.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-created; !errors.Is(err, store.ErrIDTaken) {
		t.Fatalf("create of a deleted id: %v", err)
	}
}

func TestLoginsAtOnceAreRecordedOnce(t *testing.T) {
	t.Parallel()
	s, _ := openNew(t)
	user := mustCreate(t, s)
	at := user.CreatedAt
	var group errgroup.Group
	for range 16 {
		group.Go(func() error {
			logged, err := s.RecordLogin(t.Context(), user.ID, at, 60e9)
			if err == nil && (logged.Version != 2 || !logged.LastLogin.Equal(at)) {
				err = fmt.Errorf("user is %+v", logged)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// What other programs write, and the schema of the database allows, hinders nothing:
// the user is returned as it is, and User.Check says what is wrong with it.
func TestForeignWrites(t *testing.T) {
	t.Parallel()
	for set, field := range map[string]string{
		`created_at = 'infinity'`:               "created_at",
		`created_at = '294276-12-31'`:           "created_at",
		`updated_at = '-infinity'`:              "updated_at",
		`last_login = 'infinity'`:               "last_login",
		`last_login = '4713-01-01 BC'`:          "last_login",
		`roles = array[null]`:                   "roles",
		`roles = array['reader', null]::text[]`: "roles",
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			s, url := openNew(t)
			ids := []string{mustCreate(t, s).ID, mustCreate(t, s).ID, mustCreate(t, s).ID}
			run(t, connect(t, url), `update users set `+set+` where id = $1`, ids[1])
			user, err := s.Get(t.Context(), ids[1])
			invalid := new(store.InvalidUserError)
			if err != nil || !errors.As(user.Check(), &invalid) || invalid.Field != field {
				t.Errorf("user is %v, error %v", user, err)
			}
			checkListed(t, s, ids)
		})
	}
}

// checkListed checks that lists return each of the users once, in whatever order.
func checkListed(t *testing.T, s store.Store, ids []string) {
	t.Helper()
	var listed []string
	var after store.Position
	for len(listed) <= len(ids) {
		users, err := s.List(t.Context(), store.Query{After: after, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(users) == 0 {
			break
		}
		listed, after = append(listed, users[0].ID), users[0].Position()
	}
	slices.Sort(listed)
	if want := slices.Sorted(slices.Values(ids)); !slices.Equal(listed, want) {
		t.Errorf("listed %v, want %v", listed, want)
	}
}
