package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What to do about an extension that cannot be had does not depend on the language in which
// PostgreSQL says so.
func TestRefusalsOfAnExtensionInAnyLanguage(t *testing.T) {
	t.Parallel()
	const script = "create extension if not exists pg_trgm;"
	for _, test := range []struct {
		script, code, message string
		want                  bool
	}{
		{script, "42501", "keine Berechtigung, um Erweiterung »pg_trgm« zu erzeugen", true},
		{script, "0A000", "Erweiterung »pg_trgm« ist nicht verfügbar", true},
		{script, "58P01", "konnte auf Datei »$libdir/pg_trgm« nicht zugreifen: Datei oder Verzeichnis nicht gefunden", true},
		{script, lockNotAvailable, "Anweisung wurde aus Zeitüberschreitung abgebrochen", false},
		{"alter table users", "42501", "Berechtigung nur für Eigentümer der Tabelle users", false},
	} {
		err := explained(test.script, &pgconn.PgError{Code: test.code, Message: test.message})
		if got := strings.Contains(err.Error(), `let an administrator run "create extension pg_trgm"`); got != test.want || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s of %s: %v", test.code, test.script, err)
		}
	}
}
