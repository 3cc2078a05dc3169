package sqlite_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/example/userd/store"
)

// erasedLetters are in names as they are kept, and as searches see them, and are one entry of
// the index of names.
const erasedLetters = "ꙮꙮꙮ"

// What was deleted or replaced is in no file of the database any more, soon after and after
// a stop, but for the few copies that SQLite leaves in the gap of a page when it joins two.
// A vacuum removes those.
func TestWhatIsDeletedIsErased(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := openPath(t, path)
	const users = 2000 // So many that pages are split, joined and freed.
	ids := make([]string, users)
	for i := range ids {
		user := newUser()
		user.Email, user.DisplayName = fmt.Sprintf("%s@erased.example", user.ID), "Erased "+erasedLetters+" "+user.ID
		created, err := s.Import(t.Context(), []store.NewUser{user})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = created[0].ID
	}
	for i, id := range ids {
		if i%10 == 0 {
			continue
		}
		if _, err := s.Delete(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < users; i += 10 {
		mustUpdate(t, s, ids[i], "Zoë")
	}
	remaining := func() (found int) {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			data, err := os.ReadFile(path + suffix)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			found += bytes.Count(data, []byte(erasedLetters))
			for i, id := range ids {
				if i%10 != 0 && bytes.Contains(data, []byte(id+"@erased.example")) {
					found++
				}
			}
		}
		return found
	}
	const few = users / 100
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for giveUp := time.After(5 * time.Minute); remaining() > few; {
		select {
		case <-look.C:
		case <-giveUp:
			t.Fatalf("%d deleted texts are still there", remaining())
		}
	}
	mustClose(t, s)
	if found := remaining(); found > few {
		t.Errorf("%d deleted texts are there after a stop", found)
	}
	sqlite3(t, path, `vacuum`)
	if found := remaining(); found > 0 {
		t.Errorf("%d deleted texts are there after a vacuum", found)
	}
}
