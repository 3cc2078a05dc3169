package cache

import (
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
	"github.com/example/userd/store/storetest"
)

// A cache is a store: the suite passes over it as over the store below.
func TestStore(t *testing.T) {
	t.Parallel()
	t.Run("in process over SQLite", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, overSQLite(func() string { return "" }))
	})
	t.Run("Redis over SQLite", func(t *testing.T) {
		t.Parallel()
		// One Redis serves all: the keys of each store have its incarnation.
		r := sync.OnceValue(func() string { return cachetest.Start(t).URL() })
		storetest.Run(t, overSQLite(r))
	})
}

func overSQLite(redis func() string) func(*testing.T) store.Store {
	return func(t *testing.T) store.Store {
		t.Helper()
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "userd.db")})
		if err != nil {
			t.Fatal(err)
		}
		logged := make(lines, 100)
		c, err := New(s, Config{Redis: redis(), Logger: slog.New(logged)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		logged.await(t, "cache is trusted") // Until then the store would be tested again.
		return c
	}
}
