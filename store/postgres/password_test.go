package postgres_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
)

// A password may come as PostgreSQL's own programs take it, so that no command line
// shows it.
func TestPasswordsOfLibpq(t *testing.T) { // Alone: it changes the environment.
	server := storetest.NewServer(t, "fsync=off")
	address, err := url.Parse(server.Login(t, "postgres", "hidden", "well-hidden"))
	if err != nil {
		t.Fatal(err)
	}
	query := address.Query()
	query.Del("password")
	address.RawQuery = query.Encode()

	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	services := write("services", fmt.Sprintf("[users]\nhost=%s\nuser=hidden\npassword=well-hidden\ndbname=postgres\n", server.Host()))
	for name, test := range map[string]struct{ variable, value, url string }{
		"PGPASSWORD":    {"PGPASSWORD", "well-hidden", address.String()},
		"PGPASSFILE":    {"PGPASSFILE", write("pgpass", "*:*:*:hidden:well-hidden\n"), address.String()},
		"PGSERVICEFILE": {"PGSERVICEFILE", services, "postgres://?service=users"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PGPASSFILE", filepath.Join(dir, "none"))
			if _, err := postgres.Status(t.Context(), postgres.Config{URL: test.url}); err == nil {
				t.Fatal("the database is reached without a password")
			}
			t.Setenv(test.variable, test.value)
			if _, err := postgres.Status(t.Context(), postgres.Config{URL: test.url}); err != nil {
				t.Error(err)
			}
		})
	}
}
