package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/example/userd/store"
)

// sqlite3 runs statements on a file as the program of that name does, and returns
// what it prints.
func sqlite3(t testing.TB, path, statements string) string {
	t.Helper()
	out, err := trySQLite3(t, path, statements)
	if err != nil {
		t.Fatalf("sqlite3 %s: %v: %s", statements, err, out)
	}
	return out
}

func trySQLite3(t testing.TB, path, statements string) (string, error) {
	t.Helper()
	program, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Fatal("sqlite3 is missing: run .ci/install, or install the package sqlite3")
	}
	command := exec.CommandContext(t.Context(), program, "-batch", "-cmd", ".timeout 10000", path, statements)
	out, err := command.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// awaitChange returns the next change after a cursor.
func awaitChange(t testing.TB, s store.Store, after store.Cursor) store.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if err := s.Wait(ctx, after); err != nil {
			t.Fatal(err)
		}
		changes, _, err := s.Changes(ctx, after, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) > 0 {
			return changes[0]
		}
	}
}

// What other programs do to users while the store is open is a change like any other.
func TestOtherProgramsWriteToTheChangeLog(t *testing.T) {
	t.Parallel()
	for _, recursive := range []string{"on", "off"} {
		t.Run("recursive triggers "+recursive, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			s := openPath(t, path)
			user := mustCreate(t, s)
			run := func(statement string) store.Change {
				t.Helper()
				head := mustHead(t, s)
				sqlite3(t, path, "pragma recursive_triggers = "+recursive+"; "+statement)
				return awaitChange(t, s, head)
			}
			change := run(`update users set display_name = 'Zoë', email = 'ZOE@example.com', roles = '[ "b", "a", "b" ]'`)
			want := user
			want.DisplayName, want.Email, want.Roles, want.Version = "Zoë", "ZOE@example.com", []string{"a", "b"}, 2
			checkChanged(t, s, change, want)
			byEmail, err := s.GetByEmail(t.Context(), "zoe@example.com")
			if err != nil || byEmail.ID != user.ID {
				t.Errorf("by the new email: %+v, error %v", byEmail, err)
			}

			id := uuid.NewString()
			change = run(fmt.Sprintf(`insert into users values ('%s', 'new@example.com', 'New', 1, 1, null, '["b"]', 0)`, id))
			created := time.UnixMicro(1).UTC()
			checkChanged(t, s, change, store.User{
				ID: id, Email: "new@example.com", DisplayName: "New", CreatedAt: created, Roles: []string{"b"}, Version: 1,
			})
			checkRole(t, s, "b", id, user.ID)
			run(`update users set roles = json_insert(roles, '$[#]', 'admin') where display_name = 'New'`)
			checkRole(t, s, "admin", id)

			change = run(`delete from users where display_name = 'New'`)
			if change.Kind != store.Deleted || change.UserID != id || change.Version != 3 {
				t.Errorf("change is %+v", change)
			}
			checkRole(t, s, "b", user.ID)
			checkIDTaken(t, s, id)
			own := mustUpdate(t, s, user.ID, "Ada")
			if own.Version != 3 {
				t.Errorf("the store's own update makes it %+v", own)
			}
			checkLog(t, s)
		})
	}
}

func mustUpdate(t testing.TB, s store.Store, id, name string) store.User {
	t.Helper()
	user, err := s.Update(t.Context(), store.Update{ID: id, DisplayName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// checkChanged checks that a change made a user what it should be, at the time of
// the change.
func checkChanged(t testing.TB, s store.Store, change store.Change, want store.User) {
	t.Helper()
	if change.Kind != store.Upserted || change.UserID != want.ID || change.Version != want.Version {
		t.Errorf("change is %+v, want version %d", change, want.Version)
	}
	got, err := s.Get(t.Context(), want.ID)
	want.UpdatedAt = got.UpdatedAt
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, user (-want +got):\n%s", err, diff)
	}
	if since := time.Since(got.UpdatedAt); since < -time.Second || since > time.Minute {
		t.Errorf("updated %v ago", since)
	}
}

// checkRole checks which users have a role.
func checkRole(t testing.TB, s store.Store, role string, want ...string) {
	t.Helper()
	users, err := s.List(t.Context(), store.Query{Role: role, Limit: 10})
	var got []string
	for _, user := range users {
		got = append(got, user.ID)
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, users with role %s (-want +got):\n%s", err, role, diff)
	}
}

func checkIDTaken(t testing.TB, s store.Store, id string) {
	t.Helper()
	user := newUser()
	user.ID = id
	if _, err := s.Create(t.Context(), user); !errors.Is(err, store.ErrIDTaken) {
		t.Errorf("error is %v", err)
	}
}

// What would break the schema's rules is refused with words that say what is wrong,
// and changes nothing.
func TestOtherProgramsAreRefusedWhatIsNotValid(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	deleted, user, other := mustCreate(t, s), mustCreate(t, s), mustCreate(t, s)
	if _, err := s.Delete(t.Context(), deleted.ID, 0); err != nil {
		t.Fatal(err)
	}
	insert := func(id, email, version string) string {
		return fmt.Sprintf(`insert or replace into users values ('%s', '%s', 'New', 1, 1, null, '[]', %s)`, id, email, version)
	}
	update := func(set string) string {
		return fmt.Sprintf(`update or replace users set %s where id = '%s'`, set, user.ID)
	}
	before := read(t, s)
	for statement, why := range map[string]string{
		insert(user.ID, "new@example.com", "0"):          "a user with this id exists",
		insert(deleted.ID, "new@example.com", "0"):       "a deleted user had this id",
		insert(uuid.NewString(), other.Email, "0"):       "another user has this email",
		insert(uuid.NewString(), "new@example.com", "1"): "version must be 0",
		insert("1", "new@example.com", "0"):              "id must be a UUID",
		update(`id = '` + uuid.NewString() + `'`):        "the id of a user does not change",
		update(`email = '` + other.Email + `'`):          "another user has this email",
		update(`email = 'nobody'`):                       "email must be an address",
		update(`email = 'a b@example.com'`):              "email must be an address",
		update(`display_name = ''`):                      "display_name must have",
		update(`display_name = 'a' || char(10)`):         "display_name must have",
		update(`display_name = 'a' || char(0)`):          "display_name must have",
		update(`roles = '{}'`):                           "roles must be a JSON array",
		update(`roles = '["Admin"]'`):                    "roles must be a JSON array",
		update(`roles = '[1]'`):                          "roles must be a JSON array",
		update(`roles = 'admin'`):                        "malformed JSON",
		update(`last_login = 1000000000000000000`):       "times are microseconds",
		update(`version = 7`):                            "version is raised by itself",
	} {
		if out, err := trySQLite3(t, path, statement); err == nil || !strings.Contains(out, why) {
			t.Errorf("%s: sqlite3 says %q, error %v, want %q", statement, out, err, why)
		}
	}
	if diff := cmp.Diff(before, read(t, s)); diff != "" {
		t.Errorf("something has changed (-before +after):\n%s", diff)
	}
}

// A file from before the triggers gets them.
func TestAnOlderFileIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	user := mustCreate(t, s)
	mustClose(t, s)
	drops := sqlite3(t, path, `select 'drop ' || type || ' ' || name || ';' from sqlite_schema where type in ('trigger', 'view')`)
	sqlite3(t, path, drops+`pragma user_version = 1`)
	s = openPath(t, path)
	head := mustHead(t, s)
	sqlite3(t, path, `update users set display_name = 'Zoë'`)
	if change := awaitChange(t, s, head); change.UserID != user.ID || change.Version != 2 {
		t.Errorf("change is %+v", change)
	}
	checkLog(t, s)
}
