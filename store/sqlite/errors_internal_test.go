package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
)

// Each cause comes from SQLite itself.
func TestErrorsNameTheirCause(t *testing.T) {
	t.Parallel()
	for cause, provoke := range map[string]func(conn *sqlite.Conn, path string) error{
		"disk or the quota of the SQLite file is full": func(conn *sqlite.Conn, _ string) error {
			return errors.Join(pragmas(conn, `max_page_count = 3`),
				exec(conn, `insert into numbers values (1, zeroblob(100000))`))
		},
		"is read-only": func(conn *sqlite.Conn, _ string) error {
			return errors.Join(pragmas(conn, `query_only = on`), exec(conn, `insert into numbers values (1, 2)`))
		},
		"another program has locked": func(conn *sqlite.Conn, path string) error {
			other, err := connect(path, sqlite.OpenReadWrite)
			if err != nil {
				return err
			}
			defer other.Close()
			conn.SetBusyTimeout(0)
			return errors.Join(exec(other, `begin exclusive`), exec(conn, `insert into numbers values (1, 2)`))
		},
		"is not a database": func(_ *sqlite.Conn, path string) error {
			path += ".txt"
			if err := os.WriteFile(path, []byte(strings.Repeat("text", 1000)), 0o600); err != nil {
				return err
			}
			_, err := connect(path, sqlite.OpenReadWrite)
			return err
		},
		"is damaged": func(_ *sqlite.Conn, path string) error {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = file.WriteAt([]byte(strings.Repeat("\xff", 4096)), 4096)
			if err := errors.Join(err, file.Close()); err != nil {
				return err
			}
			other, err := connect(path, sqlite.OpenReadWrite)
			if err != nil {
				return err
			}
			defer other.Close()
			return exec(other, `insert into numbers values (1, 2)`)
		},
		"cannot be opened": func(_ *sqlite.Conn, path string) error {
			_, err := connect(filepath.Join(path, "none"), sqlite.OpenReadWrite)
			return err
		},
	} {
		t.Run(cause, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "numbers.db")
			conn, err := connect(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := exec(conn, `create table numbers (n, padding)`); err != nil {
				t.Fatal(err)
			}
			err = translate(t.Context(), provoke(conn, path))
			// Who could not read a damaged file will not when it tries again.
			retry := cause != "is not a database" && cause != "is damaged"
			if errors.Is(err, store.ErrUnavailable) != retry || !strings.Contains(err.Error(), cause) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
