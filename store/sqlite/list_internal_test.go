package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"

	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
)

// A walk looks at no more users than it needs to fill a page, also where another index has
// all those who match.
func TestAWalkEndsWithThePage(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "userd.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	users := make([]store.NewUser, 2*few)
	for i := range users {
		users[i] = store.NewUser{
			ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), Email: fmt.Sprintf("a%d@example.com", i), DisplayName: "Ada",
		}
	}
	if _, err := s.Import(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	const limit = 10
	err = s.read(t.Context(), func(conn *sqlite.Conn) error {
		looked := 0
		err := conn.CreateFunction("contains_fold", &sqlite.FunctionImpl{
			NArgs: 2,
			Scalar: func(sqlite.Context, []sqlite.Value) (sqlite.Value, error) {
				looked++
				return sqlite.IntegerValue(1), nil
			},
		})
		if err != nil {
			return err
		}
		l := &listing{Listing: store.Listing{Query: store.Query{EmailPrefix: "a", NameContains: "ada", NewestFirst: true, Limit: limit}}, conn: conn}
		if err := l.fill(t.Context()); err != nil {
			return err
		}
		if len(l.Page.Users) != limit || looked != limit {
			t.Errorf("%d users are found by a look at %d", len(l.Page.Users), looked)
		}
		return configure(conn)
	})
	if err != nil {
		t.Error(err)
	}
}
