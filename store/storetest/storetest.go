// Package storetest is the suite that every store must pass: [Run] checks the
// sentences of [store.Store] one by one, [RunModel] compares a store with a model in
// memory, and [Bench] measures one.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/example/userd/store"
)

// sentence is a sentence of the specification and its test.
type sentence struct {
	says string
	test func(b *bundle)
}

// Run checks the sentences of store.Store in parallel. Each call of open opens a
// store of its own, which is empty and ends with the test.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for method, sentences := range map[string][]sentence{
		"Store":           storeSentences,
		"Create":          createSentences,
		"Import":          importSentences,
		"Get":             getSentences,
		"GetMany":         getManySentences,
		"GetByEmail":      getByEmailSentences,
		"GetByExternalID": getByExternalIDSentences,
		"List":            listSentences,
		"Update":          updateSentences,
		"UpdateMany":      updateManySentences,
		"Delete":          deleteSentences,
		"RecordLogin":     recordLoginSentences,
		"Head":            headSentences,
		"Changes":         changesSentences,
		"At":              atSentences,
		"Covers":          coversSentences,
		"Wait":            waitSentences,
		"Span":            spanSentences,
		"Prune":           pruneSentences,
		"Identity":        identitySentences,
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			for _, sentence := range sentences {
				t.Run(sentence.says, func(t *testing.T) {
					t.Parallel()
					sentence.test(&bundle{T: t, Store: open(t), open: open})
				})
			}
		})
	}
}

// bundle is what one test works with: a store of its own, and shorthands that end
// the test when a call fails that should not.
type bundle struct {
	*testing.T
	store.Store
	open func(t *testing.T) store.Store
}

// another opens a second store, which has nothing to do with the first.
func (b *bundle) another() *bundle {
	return &bundle{T: b.T, Store: b.open(b.T), open: b.open}
}

func (b *bundle) create(user store.NewUser) store.User {
	b.Helper()
	created, err := b.Create(b.Context(), user)
	b.must(err)
	return created.User
}

func (b *bundle) importAll(users ...store.NewUser) []store.Created {
	b.Helper()
	created, err := b.Import(b.Context(), users)
	b.must(err)
	if len(created) != len(users) {
		b.Fatalf("import of %d users has %d outcomes", len(users), len(created))
	}
	return created
}

func (b *bundle) get(id string) store.User {
	b.Helper()
	user, err := b.Get(b.Context(), id)
	b.must(err)
	return user
}

// list returns the ids of the users that a query selects; of all when its limit is 0.
func (b *bundle) list(query store.Query) []string {
	b.Helper()
	if query.Limit == 0 {
		query.Limit = 10_000
	}
	page, err := b.List(b.Context(), query)
	b.must(err)
	return idsOf(page.Users)
}

func (b *bundle) update(update store.Update) store.User {
	b.Helper()
	user, err := b.Update(b.Context(), update)
	b.must(err)
	return user.User
}

func (b *bundle) byEmail(email string) store.User {
	b.Helper()
	user, err := b.GetByEmail(b.Context(), email)
	b.must(err)
	return user
}

func (b *bundle) byExternalID(externalID string) store.User {
	b.Helper()
	user, err := b.GetByExternalID(b.Context(), externalID)
	b.must(err)
	return user
}

func (b *bundle) remove(id string) int64 {
	b.Helper()
	version, err := b.Delete(b.Context(), id, 0)
	b.must(err)
	return version
}

func (b *bundle) head() store.Cursor {
	b.Helper()
	head, err := b.Head(b.Context())
	b.must(err)
	return head
}

// changes reads all changes after a cursor, in pages of limit, and the cursor after
// the last.
func (b *bundle) changes(after store.Cursor, limit int) ([]store.Change, store.Cursor) {
	b.Helper()
	all, end, err := readChanges(b.Context(), b.Store, after, limit)
	b.must(err)
	return all, end
}

// logged reads all changes after a cursor, as text.
func (b *bundle) logged(after store.Cursor) []string {
	b.Helper()
	changes, _ := b.changes(after, 1000)
	return textOf(changes)
}

func (b *bundle) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// wantErr checks that err is target.
func (b *bundle) wantErr(err, target error) {
	b.Helper()
	if !errors.Is(err, target) {
		b.Errorf("error is %v, want %v", err, target)
	}
}

// same checks that got is want.
func (b *bundle) same(got, want any) {
	b.Helper()
	if diff := diffOf(got, want); diff != "" {
		b.Errorf("difference (-want +got):\n%s", diff)
	}
}

// wantUnchanged checks that a user is as it was and that nothing was logged after a
// cursor.
func (b *bundle) wantUnchanged(user store.User, since store.Cursor) {
	b.Helper()
	b.same(b.get(user.ID), user)
	b.same(b.logged(since), []string(nil))
}

// diffOf says in what got is not want. Empty slices are equal, errors by errors.Is.
func diffOf(got, want any) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateErrors())
}

// readChanges reads all changes after a cursor, in pages of limit.
func readChanges(ctx context.Context, s store.Store, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	var all []store.Change
	for {
		changes, next, err := s.Changes(ctx, after, limit)
		switch {
		case err != nil:
			return nil, "", err
		case len(changes) > limit:
			return nil, "", fmt.Errorf("%d changes, limit %d", len(changes), limit)
		case len(changes) == 0:
			return all, next, nil
		}
		all, after = append(all, changes...), next
	}
}

// textOf says what each change is, but for its time.
func textOf(changes []store.Change) []string {
	var texts []string
	for _, change := range changes {
		kind := map[store.Kind]string{store.Upserted: "upserted", store.Deleted: "deleted"}[change.Kind]
		texts = append(texts, fmt.Sprintf("%s at %d %s", change.UserID, change.Version, kind))
	}
	return texts
}

func upserted(id string, version int64) string { return fmt.Sprintf("%s at %d upserted", id, version) }

func deleted(id string, version int64) string { return fmt.Sprintf("%s at %d deleted", id, version) }

func idsOf(users []store.User) []string {
	var ids []string
	for _, user := range users {
		ids = append(ids, user.ID)
	}
	return ids
}

// newUser returns a user to create, with an id and an email of its own.
func newUser(roles ...string) store.NewUser {
	id := uuid.NewString()
	return store.NewUser{ID: id, Email: id + "@example.com", DisplayName: "Ada", Roles: roles}
}

func newUsers(n int) []store.NewUser {
	users := make([]store.NewUser, n)
	for i := range users {
		users[i] = newUser()
	}
	return users
}

// withEmail returns a user to create, with an id of its own.
func withEmail(email string) store.NewUser {
	user := newUser()
	user.Email = email
	return user
}

// named returns a user to create, with an id and an email of its own.
func named(name string) store.NewUser {
	user := newUser()
	user.DisplayName = name
	return user
}

// withExternalID returns a user to create, with an id and an email of its own.
func withExternalID(externalID string) store.NewUser {
	user := newUser()
	user.ExternalID = externalID
	return user
}

// fullUser returns a user to create who brings everything that a user can bring.
func fullUser() store.NewUser {
	user := newUser("admin", "writer")
	user.Disabled, user.ExternalID = true, "sub|"+user.ID
	user.Attributes = []store.Attribute{{Name: "tenant", Value: "blue"}, {Name: "locale", Value: "de-CH"}}
	user.CreatedAt = time.Date(2020, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	user.LastLogin = time.Date(2021, 2, 3, 4, 5, 6, 789_012_000, time.UTC)
	return user
}

// manyAttributes returns n attributes, sorted.
func manyAttributes(n int) []store.Attribute {
	attributes := make([]store.Attribute, n)
	for i := range attributes {
		attributes[i] = store.Attribute{Name: fmt.Sprintf("a%03d", i), Value: fmt.Sprint(i)}
	}
	return attributes
}

// manyRoles returns n roles, sorted.
func manyRoles(n int) []string {
	var roles []string
	for i := range n {
		roles = append(roles, fmt.Sprintf("role%03d", i))
	}
	slices.Sort(roles)
	return roles
}
