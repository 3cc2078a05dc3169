package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
	"github.com/example/userd/store/storetest"
)

// afterFirst is a tracer that calls a function after the first statement of a connection.
type afterFirst struct{ do func() }

func (*afterFirst) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (a *afterFirst) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {
	if do := a.do; do != nil {
		a.do = nil
		do()
	}
}

// importMoved imports users with emails that begin with a text, who come from another system:
// they were created one second after the other.
func importMoved(t *testing.T, s *Store, n int, email string, since time.Time, role string) {
	t.Helper()
	users := make([]store.NewUser, n)
	for i := range users {
		users[i] = store.NewUser{
			ID: uuid.NewString(), Email: fmt.Sprintf("%s%d@example.com", email, i), DisplayName: "Ada", Roles: []string{role},
			CreatedAt: since.Add(time.Duration(i) * time.Second),
		}
	}
	for part := range slices.Chunk(users, 1000) {
		if _, err := s.Import(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
}

// openTraced opens a new store, and a connection to its database that is traced.
func openTraced(t *testing.T, tracer pgx.QueryTracer) (*Store, *pgx.Conn) {
	t.Helper()
	url := storetest.Postgres(t, func(ctx context.Context, url string) error {
		_, err := Migrate(ctx, Config{URL: url})
		return err
	})
	s, err := Open(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.Tracer = tracer
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return s, conn
}

// However many users come while a search looks on, it finds all who were there.
func TestSearchWhileManyAreImported(t *testing.T) {
	t.Parallel()
	const known, come = 900, 3 * firstStep
	since := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, look := range map[string]func(context.Context, *listing) (ended bool, err error){
		"in order": func(ctx context.Context, l *listing) (ended bool, err error) {
			for err == nil && !ended {
				ended, err = l.walk(ctx, firstStep)
			}
			return ended, err
		},
		"by email": func(ctx context.Context, l *listing) (bool, error) { return l.byEmail(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracer := new(afterFirst)
			s, conn := openTraced(t, tracer)
			importMoved(t, s, known, "xb", since.Add(time.Hour), "known")
			tracer.do = func() { importMoved(t, s, come, "xa", since, "new") }
			query := store.Query{Role: "known", EmailPrefix: "x", Limit: 2 * known}
			l := &listing{Listing: store.Listing{Query: query}, on: &session{Conn: conn, caller: t.Context()}}
			if ended, err := look(t.Context(), l); err != nil || !ended || len(l.Page.Users) != known {
				t.Errorf("found are %d of %d users, ended: %v, error %v", len(l.Page.Users), known, ended, err)
			}
		})
	}
}

// statements is a tracer that counts statements of a kind.
type statements struct {
	of    string
	count int
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(data.SQL, s.of) {
		s.count++
	}
	return ctx
}

func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// What an index did not find in its time is not looked for there with each page of the search,
// but again when a second has passed.
func TestSearchesInVainAreNotRepeated(t *testing.T) {
	t.Parallel()
	tried := &statements{of: `set local statement_timeout`}
	s, conn := openTraced(t, tried)
	importMoved(t, s, 20_000, "x", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), "common")
	now := time.Now()
	var inVain store.InVain[content]
	for _, step := range []struct {
		name string
		role string
		at   time.Duration
		want int
	}{
		{"the first page", "common", 0, 1},
		{"the next", "common", store.AskAgain - 1, 1},
		{"another search", "rare", store.AskAgain - 1, 2},
		{"later", "common", store.AskAgain, 3},
	} {
		query := store.Query{Role: step.role, InactiveSince: time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC), Limit: 10}
		l := &listing{
			Listing: store.Listing{Query: query}, attributes: "{}", byContentTime: time.Millisecond,
			inVain: &inVain, now: func() time.Time { return now.Add(step.at) }, on: &session{Conn: conn, caller: t.Context()},
		}
		if err := l.fill(t.Context()); err != nil || tried.count != step.want {
			t.Errorf("%s: looked for %d times, want %d, error %v", step.name, tried.count, step.want, err)
		}
	}
}
