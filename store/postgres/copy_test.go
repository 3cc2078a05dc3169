package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/example/userd/store"
)

// interrupted fails after some parts of a copy.
type interrupted struct {
	store.Copyable
	parts int
}

var errInterrupted = errors.New("interrupted")

func (i *interrupted) Load(ctx context.Context, load store.Load) error {
	if i.parts--; i.parts < 0 {
		return errInterrupted
	}
	return i.Copyable.Load(ctx, load)
}

func TestCopyGoesOnAfterAnInterruption(t *testing.T) {
	t.Parallel()
	from, _ := openNew(t)
	to, _ := openNew(t)
	for range 3 {
		users := make([]store.NewUser, 4000)
		for i := range users {
			users[i] = newUser()
		}
		if _, err := from.Import(t.Context(), users); err != nil {
			t.Fatal(err)
		}
		if _, err := from.Delete(t.Context(), users[0].ID, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := from.Update(t.Context(), store.Update{ID: users[1].ID, AddRoles: []string{"admin"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := from.RecordLogin(t.Context(), users[2].ID, time.Now(), 0); err != nil {
			t.Fatal(err)
		}
	}
	progress := func(done, total int64) {
		if total != 12_000 || done > total {
			t.Errorf("progress %d of %d", done, total)
		}
	}
	for parts := 1; parts < 4; parts++ {
		err := store.Copy(t.Context(), from, &interrupted{to, parts}, progress)
		if !errors.Is(err, errInterrupted) {
			t.Fatal(err)
		}
	}
	if err := store.Copy(t.Context(), from, to, progress); err != nil {
		t.Fatal(err)
	}
	query := store.Query{Limit: 20_000}
	want, err := from.List(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	got, err := to.List(t.Context(), query)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	if err := store.Copy(t.Context(), from, to, progress); !errors.Is(err, store.ErrNotEmpty) {
		t.Fatalf("copy once more: %v", err)
	}
}
