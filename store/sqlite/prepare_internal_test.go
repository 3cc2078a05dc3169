package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
)

// A statement that is kept is prepared once, and the two of a search once each: to bind a
// parameter that SQLite plans by would have it prepared again.
func TestBindingPreparesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "userd.db")
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := connect(path, sqlite.OpenReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	selects := 0
	err = conn.SetAuthorizer(sqlite.AuthorizeFunc(func(action sqlite.Action) sqlite.AuthResult {
		if action.Type() == sqlite.OpSelect {
			selects++
		}
		return sqlite.AuthResultOK
	}))
	if err != nil {
		t.Fatal(err)
	}
	list := func(query store.Query) func() error {
		return func() error {
			return (&listing{Listing: store.Listing{Query: query}, conn: conn}).fill(t.Context())
		}
	}
	for _, test := range []struct {
		name string
		run  func() error
		want int
	}{
		{"a list", list(store.Query{Limit: 10}), 0},
		{"a list of the newest", list(store.Query{Limit: 10, NewestFirst: true}), 0},
		{"a search for a role", list(store.Query{Limit: 10, Role: "admin"}), 2},
		{"changes", func() error { return exec(conn, changesSQL, 0, 10) }, 0},
		{"deleted users", func() error { return exec(conn, listDeletedSQL, "", 10) }, 0},
		{"whom the index of names follows", func() error { return exec(conn, changedAfterSQL, 0, 10) }, 0},
		{"whom it goes through", func() error { return exec(conn, listedAfterSQL, "", 10) }, 0},
		{"whom it finds", func() error { _, _, err := rowsLike(t.Context(), conn, `"ada"`, time.Hour); return err }, 0},
	} {
		for range 2 {
			selects = 0
			if err := test.run(); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		if selects != test.want {
			t.Errorf("%s is prepared with %d selects when it is read again, want %d", test.name, selects, test.want)
		}
	}
}
