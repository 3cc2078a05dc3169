package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
)

// namesLab does to a store what may happen to it, at random.
type namesLab struct {
	*testing.T
	random *rand.Rand
	path   string
	store  *Store
	ids    []string
	used   int // How many searches the index has answered.
}

// Whatever has happened, and however far the index of names has come, who is found by it are
// those whom a walk past all users finds.
func TestTheIndexOfNamesFindsWhomAWalkFinds(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	lab := &namesLab{T: t, random: rand.New(rand.NewPCG(seed, 0)), path: filepath.Join(t.TempDir(), "userd.db")}
	lab.open()
	for range 300 {
		lab.act()
		lab.search()
	}
	if lab.used < 20 {
		t.Errorf("the index has answered %d of 300 searches while there were changes", lab.used)
	}
	for state := lab.step(); !state.current(); {
		state = lab.step()
	}
	lab.used = 0
	for range 100 {
		lab.search()
	}
	if lab.used != 100 {
		t.Errorf("the index has answered %d of 100 searches when it had all names", lab.used)
	}
	lab.try(lab.store.write(t.Context(), func(conn *sqlite.Conn) error {
		return exec(conn, `insert into user_names_trigrams (user_names_trigrams, rank) values ('integrity-check', 1)`)
	}))
	if err := lab.store.Close(); err != nil {
		t.Error(err)
	}
}

// The index has each trigram of a name once, whatever the name was before.
func TestTheDifferingPartsOfNamesHaveTheTrigramsThatDiffer(t *testing.T) {
	t.Parallel()
	names := []string{"ada lovelace", "ada byron", "ada\x00lovelace", "ada\uFFFE, ada\uFFFF", "ada\uFFFE, adam", "ada\uFFFD, adam"}
	longest := []string{""}
	for range 7 { // All short names, and so all ways in which trigrams come again.
		var longer []string
		for _, name := range longest {
			longer = append(longer, name+"a", name+"é")
		}
		names, longest = append(names, longer...), longer
	}
	for _, old := range names {
		for _, name := range names {
			dropped, added := differing(old, name)
			indexed := indexedTrigrams(old)
			for trigram := range indexedTrigrams(dropped) {
				delete(indexed, trigram)
			}
			for trigram := range indexedTrigrams(added) {
				if indexed[trigram] {
					t.Errorf("%q to %q: %q is there twice", old, name, trigram)
				}
				indexed[trigram] = true
			}
			if diff := cmp.Diff(indexedTrigrams(name), indexed); diff != "" {
				t.Errorf("%q to %q: trigrams (-want +got): %s", old, name, diff)
			}
		}
	}
	if dropped, added := differing("round 3 of 10", "round 4 of 10"); dropped != "d 3 o" || added != "d 4 o" {
		t.Errorf("one character differs, and %q is replaced by %q", dropped, added)
	}
}

// indexedTrigrams are the trigrams of a text up to where the index stops reading, as the index
// reads them.
func indexedTrigrams(text string) map[string]bool {
	text, _, _ = strings.Cut(text, "\x00")
	text = strings.NewReplacer("\uFFFE", "\uFFFD", "\uFFFF", "\uFFFD").Replace(text)
	runes := []rune(text)
	trigrams := make(map[string]bool)
	for i := 0; i+3 <= len(runes); i++ {
		trigrams[string(runes[i:i+3])] = true
	}
	return trigrams
}

// A step has as many users as have fitted into one, but grows by little at a time.
func TestStepsOfTheIndexOfNamesAreShort(t *testing.T) {
	t.Parallel()
	n := &namer{most: 100}
	for _, step := range []struct {
		users int
		took  time.Duration
		want  int
	}{
		{100, 10 * time.Millisecond, 50},
		{50, time.Millisecond, 100},
		{100, 4 * time.Millisecond, 125},
		{3, time.Millisecond, 125}, // There were no others.
		{0, time.Second, 125},
		{1, time.Second, 1},
		{1, 0, 2},
	} {
		if n.learn(step.users, step.took, 5*time.Millisecond); n.most != step.want {
			t.Errorf("after %d users in %s the next step has %d, want %d", step.users, step.took, n.most, step.want)
		}
	}
}

func (l *namesLab) try(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *namesLab) open() {
	s, err := Open(l.Context(), Config{Path: l.path})
	l.try(err)
	s.SearchWithoutLimit()
	l.store = s
}

func (l *namesLab) step() namesState {
	state, err := l.store.names.step(time.Hour)
	l.try(err)
	return state
}

func (l *namesLab) act() {
	switch n := l.random.IntN(100); {
	case n < 40 || len(l.ids) == 0:
		l.create(1 + l.random.IntN(30))
	case n < 60:
		_, err := l.store.Update(l.Context(), store.Update{ID: l.anyone(), DisplayName: new(l.name())})
		l.try(err)
	case n < 75:
		id := l.anyone()
		_, err := l.store.Delete(l.Context(), id, 0)
		l.try(err)
		l.ids = without(l.ids, []string{id})
	case n < 77:
		_, err := l.store.Prune(l.Context(), time.Now().Add(time.Hour))
		l.try(err)
	case n < 79:
		l.try(l.store.Close())
		l.open()
	case n < 81:
		l.try(l.store.write(l.Context(), func(conn *sqlite.Conn) error { return exec(conn, unfoldedSQL) }))
	case n < 87:
		for range 3 {
			l.step()
		}
	default: // How far three steps go is a matter of how busy the machine is.
		for state := l.step(); !state.current(); {
			state = l.step()
		}
	}
}

func (l *namesLab) create(n int) {
	users := make([]store.NewUser, n)
	for i := range users {
		id := uuid.NewString()
		users[i] = store.NewUser{ID: id, Email: id + "@example.com", DisplayName: l.name()}
		l.ids = append(l.ids, id)
	}
	_, err := l.store.Import(l.Context(), users)
	l.try(err)
}

func (l *namesLab) anyone() string { return l.ids[l.random.IntN(len(l.ids))] }

func (l *namesLab) name() string {
	parts := []string{"Νίκος", "ΣΑΣ", "é", "e\u0301", `"`, `'`, "*", " AND ", "ß", "İ", "ab", "-", "%", `\`, "日本語", "\U0001F600", "a"}
	var name strings.Builder
	for range 1 + l.random.IntN(6) {
		name.WriteString(parts[l.random.IntN(len(parts))])
	}
	return name.String()
}

// text is a part of somebody's name, or of one that nobody need have.
func (l *namesLab) text() string {
	name := l.name()
	if len(l.ids) > 0 && l.random.IntN(2) == 0 {
		user, err := l.store.Get(l.Context(), l.anyone())
		l.try(err)
		name = user.DisplayName
	}
	runes := []rune(name)
	from := l.random.IntN(len(runes))
	return string(runes[from:from+1+l.random.IntN(len(runes)-from)]) + strings.Repeat("\x00", l.random.IntN(20)/19)
}

// search searches by the index and by a walk.
func (l *namesLab) search() {
	text := l.text()
	for trigramsOf(store.FoldName(text)) == "" {
		text = l.text() + l.name()
	}
	query := store.Query{NameContains: text, Limit: 1 + l.random.IntN(10), NewestFirst: l.random.IntN(2) == 0}
	l.try(l.store.read(l.Context(), func(conn *sqlite.Conn) error {
		byIndex := &listing{Listing: store.Listing{Query: query}, byNameTime: time.Hour, inVain: new(store.InVain[string]), now: time.Now, conn: conn}
		found, err := byIndex.byName(l.Context())
		if err != nil || !found {
			return err
		}
		l.used++
		walked := &listing{Listing: store.Listing{Query: query}, conn: conn}
		if _, err := walked.walk(len(l.ids) + 1); err != nil {
			return err
		}
		if diff := cmp.Diff(walked.Page, byIndex.Page); diff != "" {
			return fmt.Errorf("%q: by the index and not by a walk (+), or the reverse (-): %s", text, diff)
		}
		return nil
	}))
}

// A search that takes too long in the index of names goes on without it, unless its caller
// has left.
func TestSearchesInTheIndexOfNamesEnd(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "userd.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.read(t.Context(), func(conn *sqlite.Conn) error {
		if _, inTime, err := rowsLike(t.Context(), conn, trigramsOf("abc"), 0); err != nil || inTime {
			t.Errorf("without time: in time %t, %v", inTime, err)
		}
		if _, inTime, err := rowsLike(t.Context(), conn, trigramsOf("abc"), time.Hour); err != nil || !inTime {
			t.Errorf("with time: in time %t, %v", inTime, err)
		}
		left, leave := context.WithCancel(t.Context())
		leave()
		if _, _, err := rowsLike(left, conn, trigramsOf("abc"), time.Hour); sqlite.ErrCode(err) != sqlite.ResultInterrupt {
			t.Errorf("of a caller who has left: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A page whose time is gone in the index of names has only looked at the first users. The next
// one goes on from there, and further.
func TestAPageThatIsLateIsShort(t *testing.T) {
	t.Parallel()
	lab := &namesLab{T: t, path: filepath.Join(t.TempDir(), "userd.db")}
	lab.open()
	defer lab.store.Close()
	const last = 3 * firstStep
	users := make([]store.NewUser, last+1)
	for i := range users {
		users[i] = store.NewUser{ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), Email: fmt.Sprintf("a%d@example.com", i), DisplayName: "Ada"}
	}
	users[last].DisplayName = "Grace"
	_, err := lab.store.Import(t.Context(), users)
	lab.try(err)
	for state := lab.step(); !state.current(); {
		state = lab.step()
	}
	lab.store.byNameTime = 0
	query := store.Query{NameContains: "grace", Limit: 1}
	page, err := lab.store.List(t.Context(), query)
	if want := users[firstStep-1].ID; err != nil || len(page.Users) > 0 || page.Next.ID != want {
		t.Fatalf("the first page has %d users and goes on after %q, %v; want none, after %q", len(page.Users), page.Next.ID, err, want)
	}
	query.After = page.Next
	if page, err = lab.store.List(t.Context(), query); err != nil || len(page.Users) != 1 {
		t.Errorf("the next page has %d users, %v; want the one who is sought", len(page.Users), err)
	}
}

// What the index of names did not find in its time it is not asked for with each page of the
// search, but again when a second has passed.
func TestSearchesInVainAreNotRepeated(t *testing.T) {
	t.Parallel()
	lab := &namesLab{T: t, path: filepath.Join(t.TempDir(), "userd.db")}
	lab.open()
	defer lab.store.Close()
	for state := lab.step(); !state.current(); {
		state = lab.step()
	}
	now := time.Now()
	var inVain store.InVain[string]
	for _, step := range []struct {
		name, text string
		limit, at  time.Duration
		asked      bool
	}{
		{"without time", "abc", 0, 0, false},
		{"the next page", "abc", time.Hour, store.AskAgain - 1, false},
		{"another search", "abcd", time.Hour, store.AskAgain - 1, true},
		{"later", "abc", time.Hour, store.AskAgain, true},
	} {
		lab.try(lab.store.read(t.Context(), func(conn *sqlite.Conn) error {
			l := &listing{
				Listing: store.Listing{Query: store.Query{NameContains: step.text, Limit: 1}}, byNameTime: step.limit,
				inVain: &inVain, now: func() time.Time { return now.Add(step.at) }, conn: conn,
			}
			asked, err := l.byName(t.Context())
			if asked != step.asked {
				t.Errorf("%s: the index says: %t, want %t", step.name, asked, step.asked)
			}
			return err
		}))
	}
}
