package cache

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// migrate makes the schema of the PostgreSQL databases that tests get.
func migrate(ctx context.Context, url string) error {
	_, err := postgres.Migrate(ctx, postgres.Config{URL: url})
	return err
}

// A cache is a store: the suite passes over it as over the store below.
func TestStore(t *testing.T) {
	t.Parallel()
	// One Redis serves all: the keys of each store have its incarnation.
	redis := sync.OnceValue(func() string { return cachetest.Start(t).URL() })
	for name, database := range map[string]func(*testing.T) string{
		"SQLite":     func(t *testing.T) string { return filepath.Join(t.TempDir(), "userd.db") },
		"PostgreSQL": func(t *testing.T) string { return storetest.Postgres(t, migrate) },
	} {
		t.Run("Redis over "+name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, opener(database, redis))
		})
	}
	t.Run("in process over SQLite", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, opener(func(t *testing.T) string {
			return filepath.Join(t.TempDir(), "userd.db")
		}, func() string { return "" }))
	})
}

// opener opens trusted caches, each over a store of its own.
func opener(database func(*testing.T) string, redis func() string) func(*testing.T) store.Store {
	return func(t *testing.T) store.Store {
		t.Helper()
		s, err := openStore(t.Context(), database(t))
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
