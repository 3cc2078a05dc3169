package sqlite_test

import (
	"slices"
	"testing"

	"github.com/example/userd/store"
)

// At finds its place in the log by halving.
func TestTheLogIsInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	s := openNew(t)
	users := make([]store.NewUser, 300)
	for i := range users {
		users[i] = newUser()
	}
	importAll(t, s, users[:150])
	mixed := slices.Clone(users) // Of whom some are there, one behind another and between new ones.
	for i := range mixed {
		mixed[i] = users[i*7%len(users)]
		mixed[i].OnConflict, mixed[i].DisplayName = store.UpdateOnConflict, "Zoë"
	}
	importAll(t, s, mixed)
	updates := make([]store.Update, len(users))
	for i, user := range users {
		updates[i] = store.Update{ID: user.ID, DisplayName: new("Ella")}
	}
	if _, err := s.UpdateMany(t.Context(), updates); err != nil {
		t.Fatal(err)
	}
	changes, _, err := s.Changes(t.Context(), store.Earliest, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if want := 150 + 300 + 300; len(changes) != want {
		t.Fatalf("%d changes, want %d", len(changes), want)
	}
	if !slices.IsSortedFunc(changes, func(a, b store.Change) int { return a.At.Compare(b.At) }) {
		t.Error("the log is not in the order of time")
	}
	for i, change := range changes[450:] {
		if change.UserID != users[i].ID || change.Kind != store.Upserted {
			t.Fatalf("change %d is %+v, want one of user %s", 450+i, change, users[i].ID)
		}
	}
	checkLog(t, s)
}
