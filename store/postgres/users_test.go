package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
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
		_, err := patiently(func() (store.Written, error) {
			return s.Create(t.Context(), store.NewUser{ID: id, Email: email, DisplayName: "Late"})
		})
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
		`attributes = '["tenant"]'`:             "attributes",
		`attributes = '1e400'`:                  "attributes",
		`attributes = 'null'`:                   "attributes",
		`attributes = '"tenant"'`:               "attributes",
		`attributes = '{"tenant": null}'`:       "attributes",
		`attributes = '{"tenant": {"a": "b"}}'`: "attributes",
		`attributes = '{"": "no name"}'`:        "attributes",
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

// An external id without a character is none.
func TestAForeignEmptyExternalID(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user, other := mustCreate(t, s), mustCreate(t, s)
	run(t, connect(t, url), `update users set external_id = '' where id = $1`, user.ID)
	got, err := s.Get(t.Context(), user.ID)
	if err != nil || got.ExternalID != "" || got.Check() != nil {
		t.Errorf("user is %+v, %v", got, err)
	}
	if _, err := s.GetByExternalID(t.Context(), ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get by no external id: %v", err)
	}
	for _, id := range []string{user.ID, other.ID} {
		if _, err := s.Update(t.Context(), store.Update{ID: id, ExternalID: new(""), Email: new("new" + id + "@example.com")}); err != nil {
			t.Errorf("update: %v", err)
		}
	}
	mustCreate(t, s)
}

// keys are what only one user can have.
var keys = map[string]struct {
	update func(id, value string) store.Update
	create func(value string) store.NewUser
	column string
	taken  error
}{
	"email": {
		func(id, value string) store.Update { return store.Update{ID: id, Email: &value} },
		func(value string) store.NewUser {
			user := newUser()
			user.Email = value
			return user
		},
		"email", store.ErrEmailTaken,
	},
	"external id": {
		func(id, value string) store.Update { return store.Update{ID: id, ExternalID: &value} },
		func(value string) store.NewUser {
			user := newUser()
			user.ExternalID = value
			return user
		},
		"external_id", store.ErrExternalIDTaken,
	},
}

func TestUpdatesToOneKeyAtOnceHaveOneWinner(t *testing.T) {
	t.Parallel()
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := openNew(t)
			for round := range 10 {
				value := fmt.Sprintf("round%d@example.com", round)
				var won atomic.Int64
				var group errgroup.Group
				for range 8 {
					user := mustCreate(t, s)
					group.Go(func() error {
						_, err := s.Update(t.Context(), key.update(user.ID, value))
						if err == nil {
							won.Add(1)
						}
						if errors.Is(err, key.taken) {
							return nil
						}
						return err
					})
				}
				if err := group.Wait(); err != nil {
					t.Fatal(err)
				}
				if won.Load() != 1 {
					t.Fatalf("%d updates to one %s succeeded", won.Load(), name)
				}
			}
		})
	}
}

// While a call waits, another transaction takes what it wants, or does not.
func TestAKeyThatIsTakenMeanwhile(t *testing.T) {
	t.Parallel()
	for name, key := range keys {
		for call, write := range map[string]func(s store.Store, user store.User, value string) error{
			"update": func(s store.Store, user store.User, value string) error {
				_, err := patiently(func() (store.Written, error) { return s.Update(t.Context(), key.update(user.ID, value)) })
				return err
			},
			"update of many": func(s store.Store, user store.User, value string) error {
				updates := []store.Update{key.update(user.ID, value), {ID: mustCreate(t, s).ID, DisplayName: new("Other")}}
				return besideAnother(patiently(func() ([]store.Updated, error) { return s.UpdateMany(t.Context(), updates) }))(
					func(updated store.Updated) error { return updated.Err })
			},
			"import": func(s store.Store, _ store.User, value string) error {
				rows := []store.NewUser{key.create(value), newUser()}
				return besideAnother(patiently(func() ([]store.Created, error) { return s.Import(t.Context(), rows) }))(
					func(created store.Created) error { return created.Err })
			},
			"create": func(s store.Store, _ store.User, value string) error {
				_, err := patiently(func() (store.Written, error) { return s.Create(t.Context(), key.create(value)) })
				return err
			},
		} {
			t.Run(call+", "+name, func(t *testing.T) {
				t.Parallel()
				s, url := openNew(t)
				user, rival := mustCreate(t, s), mustCreate(t, s)
				meanwhile := func(end func(pgx.Tx) error) error {
					tx := begin(t, connect(t, url))
					run(t, tx, `update users set `+key.column+` = 'Wanted@example.com', version = version + 1 where id = $1`, rival.ID)
					written := make(chan error, 1)
					go func() { written <- write(s, user, "Wanted@example.com") }()
					awaitBlocked(t, url)
					if err := end(tx); err != nil {
						t.Fatal(err)
					}
					return <-written
				}
				if err := meanwhile(func(tx pgx.Tx) error { return tx.Commit(t.Context()) }); !errors.Is(err, key.taken) {
					t.Errorf("it was taken, and the call returned %v", err)
				}
				run(t, connect(t, url), `update users set email = id::text, external_id = null where id = $1`, rival.ID)
				if err := meanwhile(func(tx pgx.Tx) error { return tx.Rollback(t.Context()) }); err != nil {
					t.Errorf("it was not taken, and the call returned %v", err)
				}
			})
		}
	}
}

// besideAnother returns what became of the first of two rows of a call. The second must
// have gone through.
func besideAnother[T any](results []T, err error) func(errOf func(T) error) error {
	return func(errOf func(T) error) error {
		if err != nil {
			return fmt.Errorf("the whole call failed: %v", err) // Not what became of a row.
		}
		if err := errOf(results[1]); err != nil {
			return fmt.Errorf("another row failed: %v", err)
		}
		return errOf(results[0])
	}
}

func TestALoginWaitsForWhoeverDisablesTheUser(t *testing.T) {
	t.Parallel()
	s, url := openNew(t)
	user := mustCreate(t, s)
	tx := begin(t, connect(t, url))
	run(t, tx, `update users set disabled = true, version = version + 1 where id = $1`, user.ID)
	logged := make(chan error, 1)
	go func() {
		_, err := patiently(func() (store.Written, error) { return s.RecordLogin(t.Context(), user.ID, user.CreatedAt, 0) })
		logged <- err
	}()
	awaitBlocked(t, url)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-logged; !errors.Is(err, store.ErrUserDisabled) {
		t.Errorf("login: %v", err)
	}
	if got, err := s.Get(t.Context(), user.ID); err != nil || got.Version != 2 || !got.LastLogin.IsZero() {
		t.Errorf("user is %+v, %v", got, err)
	}
}

// checkListed checks that lists return each of the users once, in whatever order.
func checkListed(t *testing.T, s store.Store, ids []string) {
	t.Helper()
	var listed []string
	var after store.Position
	for len(listed) <= len(ids) {
		page, err := s.List(t.Context(), store.Query{After: after, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Users) == 0 {
			break
		}
		listed, after = append(listed, page.Users[0].ID), page.Next
	}
	slices.Sort(listed)
	if want := slices.Sorted(slices.Values(ids)); !slices.Equal(listed, want) {
		t.Errorf("listed %v, want %v", listed, want)
	}
}
