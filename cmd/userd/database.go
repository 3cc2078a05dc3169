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
	path, err := sqlitePath(database)
	if err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, sqlite.Config{Path: path, Logger: logger})
}

// sqlitePath is the file that a --database names.
func sqlitePath(database string) (string, error) {
	path, ok := strings.CutPrefix(database, "sqlite:")
	if !ok || path == "" {
		return "", fmt.Errorf("--database must be sqlite:FILE, not %q", withoutPassword(database))
	}
	return path, nil
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
