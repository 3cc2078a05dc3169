package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

// openStore opens the store that a --database names.
func openStore(ctx context.Context, database string, logger *slog.Logger) (store.Store, error) {
	path, ok := strings.CutPrefix(database, "sqlite:")
	if !ok || path == "" {
		return nil, fmt.Errorf("--database must be sqlite:FILE, not %q", withoutPassword(database))
	}
	return sqlite.Open(ctx, sqlite.Config{Path: path, Logger: logger})
}

// withoutPassword is a database's address as it may be shown.
func withoutPassword(database string) string {
	address, err := url.Parse(database)
	if err != nil {
		scheme, _, _ := strings.Cut(database, ":")
		return scheme + ":…"
	}
	return address.Redacted()
}
