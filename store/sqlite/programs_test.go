package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
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
			change = run(fmt.Sprintf(`insert into users (id, email, display_name, created_at, updated_at, roles, version)
				values ('%s', 'new@example.com', 'New', 1, 1, '["b"]', 0)`, id))
			created := time.UnixMicro(1).UTC()
			checkChanged(t, s, change, store.User{
				ID: id, Email: "new@example.com", DisplayName: "New", CreatedAt: created, Roles: []string{"b"}, Version: 1,
			})
			checkRole(t, s, "b", id, user.ID)
			run(`update users set roles = json_insert(roles, '$[#]', 'admin') where display_name = 'New'`)
			checkRole(t, s, "admin", id)

			change = run(`update users set disabled = 1, external_id = 'sub|1', attributes = '{"tenant": "blue", "locale": "de"}'
				where display_name = 'New'`)
			checkChanged(t, s, change, store.User{
				ID: id, Email: "new@example.com", DisplayName: "New", CreatedAt: created, Roles: []string{"admin", "b"}, Version: 3,
				Disabled: true, ExternalID: "sub|1", Attributes: []store.Attribute{{Name: "locale", Value: "de"}, {Name: "tenant", Value: "blue"}},
			})
			checkAttribute(t, s, "tenant", "blue", id)
			run(`update users set attributes = json_set(attributes, '$.tenant', 'red') where display_name = 'New'`)
			checkAttribute(t, s, "tenant", "blue")
			checkAttribute(t, s, "tenant", "red", id)

			change = run(`delete from users where display_name = 'New'`)
			if change.Kind != store.Deleted || change.UserID != id || change.Version != 5 {
				t.Errorf("change is %+v", change)
			}
			checkRole(t, s, "b", user.ID)
			checkAttribute(t, s, "tenant", "red")
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
	return user.User
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
	checkFound(t, s, store.Query{Role: role}, want)
}

// checkAttribute checks which users have an attribute.
func checkAttribute(t testing.TB, s store.Store, name, value string, want ...string) {
	t.Helper()
	checkFound(t, s, store.Query{Attributes: []store.Attribute{{Name: name, Value: value}}}, want)
}

func checkFound(t testing.TB, s store.Store, query store.Query, want []string) {
	t.Helper()
	query.Limit = 10
	page, err := s.List(t.Context(), query)
	var got []string
	for _, user := range page.Users {
		got = append(got, user.ID)
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, users of %+v (-want +got):\n%s", err, query, diff)
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
	withExternalID := newUser()
	withExternalID.ExternalID = "sub|taken"
	if _, err := s.Create(t.Context(), withExternalID); err != nil {
		t.Fatal(err)
	}
	insert := func(id, email, version string) string {
		return fmt.Sprintf(`insert or replace into users (id, email, display_name, created_at, updated_at, roles, version, external_id)
			values ('%s', '%s', 'New', 1, 1, '[]', %s, 'sub|new')`, id, email, version)
	}
	update := func(set string) string {
		return fmt.Sprintf(`update or replace users set %s where id = '%s'`, set, user.ID)
	}
	before := read(t, s)
	for statement, why := range map[string]string{
		insert(user.ID, "new@example.com", "0"):                     "a user with this id exists",
		insert(deleted.ID, "new@example.com", "0"):                  "a deleted user had this id",
		insert(uuid.NewString(), other.Email, "0"):                  "another user has this email",
		insert(uuid.NewString(), "new@example.com", "1"):            "version must be 0",
		insert("1", "new@example.com", "0"):                         "id must be a UUID",
		update(`id = '` + uuid.NewString() + `'`):                   "the id of a user does not change",
		update(`email = '` + other.Email + `'`):                     "another user has this email",
		update(`email = 'nobody'`):                                  "email must be an address",
		update(`email = 'a b@example.com'`):                         "email must be an address",
		update(`display_name = ''`):                                 "display_name must have",
		update(`display_name = 'a' || char(10)`):                    "display_name must have",
		update(`display_name = 'a' || char(0)`):                     "display_name must have",
		update(`roles = '{}'`):                                      "roles must be a JSON array",
		update(`roles = '["Admin"]'`):                               "roles must be a JSON array",
		update(`roles = '[1]'`):                                     "roles must be a JSON array",
		update(`roles = 'admin'`):                                   "malformed JSON",
		update(`last_login = 1000000000000000000`):                  "times are microseconds",
		update(`version = 7`):                                       "version is raised by itself",
		update(`disabled = 2`):                                      "disabled must be 0 or 1",
		update(`external_id = 'sub|taken'`):                         "another user has this external_id",
		update(`external_id = ''`):                                  "external_id must be NULL",
		update(`external_id = 'a' || char(9)`):                      "external_id must be NULL",
		update(`attributes = '["a"]'`):                              "attributes must be a JSON object",
		update(`attributes = '{"a": 1}'`):                           "attributes must be a JSON object",
		update(`attributes = '{"A": "b"}'`):                         "attributes must be a JSON object",
		update(`attributes = '{"a": "b", "a": "c"}'`):               "attributes must be a JSON object",
		update(`attributes = '{"a": "\u0000"}'`):                    "attributes must be a JSON object",
		update(`attributes = json_object('a', hex(zeroblob(513)))`): "attributes must be a JSON object",
	} {
		if out, err := trySQLite3(t, path, statement); err == nil || !strings.Contains(out, why) {
			t.Errorf("%s: sqlite3 says %q, error %v, want %q", statement, out, err, why)
		}
	}
	if diff := cmp.Diff(before, read(t, s)); diff != "" {
		t.Errorf("something has changed (-before +after):\n%s", diff)
	}
}

// version2.db was written by the userd that knew schema version 2. It is brought up to
// date in place: users,
// versions and log stay, and what is new is there.
func TestAnOlderFileIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	file, err := os.ReadFile("testdata/version2.db")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	schema, err := sqlite.Status(t.Context(), sqlite.Config{Path: path})
	if err != nil || schema.Current != 2 || schema.Check() == nil {
		t.Errorf("status is %+v, error %v", schema, err)
	}

	s := openPath(t, path)
	id := func(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
	want := []store.User{{
		ID: id(1), Email: "Ada@Example.com", DisplayName: "Ada Lovelace", Roles: []string{"admin", "reader"}, Version: 2,
		CreatedAt: time.UnixMicro(1795896681183254).UTC(), UpdatedAt: time.UnixMicro(1795896681405098).UTC(),
		LastLogin: time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC),
	}, {
		ID: id(2), Email: "zoe@example.com", DisplayName: "Zoë Müller", Version: 1,
		CreatedAt: time.UnixMicro(1795896681228725).UTC(), UpdatedAt: time.UnixMicro(1795896681228725).UTC(),
	}, {
		ID: id(4), Email: "grace@example.com", DisplayName: "Grace Hopper", Roles: []string{"reader", "writer"}, Version: 2,
		CreatedAt: time.UnixMicro(1795896681304977).UTC(), UpdatedAt: time.UnixMicro(1795896681340332).UTC(),
	}}
	page, err := s.List(t.Context(), store.Query{Limit: 10})
	if diff := cmp.Diff(want, page.Users); err != nil || diff != "" {
		t.Errorf("error %v, users (-want +got):\n%s", err, diff)
	}
	checkIDTaken(t, s, id(3))
	if changes, _, err := s.Changes(t.Context(), store.Earliest, 10); err != nil || len(changes) != 7 {
		t.Errorf("%d changes, error %v", len(changes), err)
	}

	head := mustHead(t, s)
	sqlite3(t, path, `update users set disabled = 1, external_id = 'sub|1' where display_name like 'Zo%'`)
	zoe := want[1]
	zoe.Disabled, zoe.ExternalID, zoe.Version = true, "sub|1", 2
	checkChanged(t, s, awaitChange(t, s, head), zoe)
	if user, err := s.GetByExternalID(t.Context(), "sub|1"); err != nil || user.ID != zoe.ID {
		t.Errorf("by external id: %+v, error %v", user, err)
	}
	checkLog(t, s)
}

// A file of schema version 3 has attributes, and no way to find users by them.
func TestAttributesOfAnOlderFileAreFound(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	user := newUser()
	user.Attributes = []store.Attribute{{Name: "locale", Value: "de"}, {Name: "tenant", Value: "blue"}}
	if _, err := s.Create(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	toVersion3(t, path)
	s = openPath(t, path)
	checkAttribute(t, s, "tenant", "blue", user.ID)
	checkAttribute(t, s, "locale", "de", user.ID)
}

// toVersion3 takes back what the migrations since do.
func toVersion3(t testing.TB, path string) {
	t.Helper()
	script(t, path, `drop index users_disabled`)
	for _, table := range []string{"user_attributes", "user_names_trigrams", "user_names", "user_names_state"} {
		script(t, path, `drop table `+table)
	}
	for _, trigger := range []string{"inserted", "changed", "deleted"} {
		script(t, path, `drop trigger users_attributes_`+trigger)
	}
	script(t, path, `pragma user_version = 3`)
}
