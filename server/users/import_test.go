package users

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/store"
)

// importStore takes imports of a few rows at a time, until it has no room.
type importStore struct {
	store.Store
	rows, room int
	imports    []int // How many rows each had.
}

func (s *importStore) Capacity() store.Capacity { return store.Capacity{Rows: s.rows} }

func (s *importStore) Import(_ context.Context, users []store.NewUser) ([]store.Created, error) {
	if s.room -= len(users); s.room < 0 {
		return nil, store.ErrUnavailable
	}
	s.imports = append(s.imports, len(users))
	outcomes := make([]store.Created, len(users))
	for i, user := range users {
		outcomes[i].ID = user.ID
		if user.Email == "" {
			outcomes[i] = store.Created{Err: store.ErrEmailTaken}
		}
	}
	return outcomes, nil
}

// importAll imports rows: v is stored, t has a taken email, r is no user.
func importAll(t *testing.T, s store.Store, rows string) (*userv1.BatchCreateUsersResponse, error) {
	i := newImporter(t.Context(), s, everybody{}, nil)
	for n, row := range rows {
		switch row {
		case 'v':
			i.add(store.NewUser{ID: fmt.Sprint(n), Email: "ada@example.com"})
		case 't':
			i.add(store.NewUser{ID: fmt.Sprint(n)})
		case 'r':
			i.reject(failure.StatusOf(t.Context(), store.ErrTooManyRoles))
		}
	}
	err := i.finish()
	return i.response, err
}

// An import is the same in however many pieces it is stored.
func TestImportHasNoMoreRowsThanTheStoreTakes(t *testing.T) {
	for rows, pieces := range map[int][]int{0: {8}, 3: {3, 3, 2}, 8: {8}, 100: {8}} {
		s := &importStore{rows: rows, room: 100}
		got, err := importAll(t, s, "rvvtrrvvrvtvrr")
		if err != nil || !slices.Equal(s.imports, pieces) {
			t.Errorf("%d rows at a time: imports have %v rows, error %v", rows, s.imports, err)
		}
		var failed []int32
		for _, failure := range got.GetFailures() {
			failed = append(failed, failure.GetIndex())
		}
		if !slices.Equal(got.GetCreatedUserIds(), []string{"1", "2", "6", "7", "9", "11"}) || got.GetSuccessCount() != 6 {
			t.Errorf("%d rows at a time: created are %v", rows, got.GetCreatedUserIds())
		}
		if !slices.Equal(failed, []int32{0, 3, 4, 5, 8, 10, 12, 13}) || got.GetFailureCount() != 8 {
			t.Errorf("%d rows at a time: failed are %v", rows, failed)
		}
	}
}

// Of an import that fails, what was stored before is counted, and nothing else.
func TestImportThatFailsCountsWhatIsStored(t *testing.T) {
	s := &importStore{rows: 3, room: 6}
	got, err := importAll(t, s, "vvrvtvvrvr")
	if err == nil || !slices.Equal(got.GetCreatedUserIds(), []string{"0", "1", "3", "5", "6"}) || got.GetFailureCount() != 3 {
		t.Errorf("response is %v, error %v", got, err)
	}
}

// turn is an admitted stream that waits for its turn, and counts its turns.
type turn struct {
	everybody
	wait  func()
	turns int
}

func (t *turn) Do(ctx context.Context, f func(context.Context) error) error {
	t.turns++
	t.wait()
	return f(ctx)
}

// How many rows the store would have is asked when it is the turn of an import: while it
// waited there may have come writes who would wait for all of its rows.
func TestImportAsksForRowsWhenItHasItsTurn(t *testing.T) {
	s := &importStore{room: 100}
	stream := &turn{wait: func() { s.rows = 2 }}
	i := newImporter(t.Context(), s, stream, nil)
	for n := range 5 {
		i.add(store.NewUser{ID: fmt.Sprint(n), Email: "ada@example.com"})
	}
	if err := i.finish(); err != nil || !slices.Equal(s.imports, []int{2, 2, 1}) || stream.turns != 3 {
		t.Errorf("imports have %v rows, in %d turns, error %v", s.imports, stream.turns, err)
	}
}

// silentStream is a stream of a caller of whom nothing is to be read.
type silentStream struct {
	connect.ServerStream
	t *testing.T
}

func (s silentStream) Receive(any) error {
	s.t.Error("something is read")
	return io.EOF
}

// An import that is not let in is refused before anything of it is read.
func TestImportsAreRefusedAtTheirBeginning(t *testing.T) {
	service := &Service{Config: Config{Admit: func(context.Context) (context.Context, Admitted, error) {
		return nil, nil, store.ErrOverloaded
	}}}
	if err := service.batchCreateUsers(t.Context(), silentStream{t: t}); !errors.Is(err, store.ErrOverloaded) {
		t.Errorf("an import ends with %v", err)
	}
}
