package sqlite_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/store"
)

const (
	// erasedLetters are in names as they are kept, and as searches see them, and are one entry
	// of the index of names.
	erasedLetters = "ꙮꙮꙮ"
	// erasedDomain is behind the id of a user in its email.
	erasedDomain = "@erased.example"
)

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
		user.Email, user.DisplayName = user.ID+erasedDomain, "Erased "+erasedLetters+" "+user.ID
		created, err := s.Import(t.Context(), []store.NewUser{user})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = created[0].ID
	}
	deleted := make(map[string]bool, users)
	for i, id := range ids {
		if i%10 == 0 {
			continue
		}
		deleted[id] = true
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
			found += len(idsBefore(data, []byte(erasedDomain), deleted))
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

// idsBefore returns which of these ids stand in data before a text. It reads large files once:
// a search for each of the ids takes seconds.
func idsBefore(data, text []byte, ids map[string]bool) map[string]bool {
	found := make(map[string]bool)
	for {
		before, after, is := bytes.Cut(data, text)
		if !is {
			return found
		}
		if id := string(before[max(0, len(before)-len(uuid.Nil.String())):]); ids[id] {
			found[id] = true
		}
		data = after
	}
}
