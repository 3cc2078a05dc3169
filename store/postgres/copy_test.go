package postgres_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
	"github.com/example/userd/store/storetest"
)

func TestCopy(t *testing.T) {
	t.Parallel()
	inPostgres := func(t testing.TB) store.Copyable {
		s, _ := openNew(t)
		return s
	}
	inSQLite := func(t testing.TB) store.Copyable {
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "userd.db")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	for name, ends := range map[string][2]func(t testing.TB) store.Copyable{
		"SQLite to PostgreSQL":     {inSQLite, inPostgres},
		"PostgreSQL to SQLite":     {inPostgres, inSQLite},
		"PostgreSQL to PostgreSQL": {inPostgres, inPostgres},
		"SQLite to SQLite":         {inSQLite, inSQLite},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.RunCopy(t, ends[0], ends[1])
		})
	}
}

// A copy names the user whom another program has given a time that is none.
func TestCopyOfAUserWithoutATime(t *testing.T) {
	t.Parallel()
	from, url := openNew(t)
	to, _ := openNew(t)
	user := mustCreate(t, from)
	run(t, connect(t, url), `update users set created_at = 'infinity'`)
	err := store.Copy(t.Context(), from, to, func(int64, int64) {})
	if invalid := new(store.InvalidUserError); !errors.As(err, &invalid) || *invalid != (store.InvalidUserError{ID: user.ID, Field: "created_at"}) {
		t.Errorf("copy: %v", err)
	}
}
