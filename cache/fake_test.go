package cache

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store"
)

// fakeStore keeps users in a map, counts reads, and can hold them up.
type fakeStore struct {
	store.Store // Nil: what is not below is not called.
	identity    store.Identity
	reads       atomic.Int64
	afterGet    atomic.Pointer[func(id string)] // Called between a read and its return.
	down        atomic.Bool                     // Every call returns ErrUnavailable.
	full        atomic.Bool                     // Callers have all connections: only vital calls are answered.
	queued      atomic.Int64                    // Calls of the log that waited behind them.

	mu      sync.Mutex
	users   map[string]store.User
	log     []store.Change
	ahead   time.Duration // Of the clock that changes have their time from.
	changed chan struct{}
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		identity: store.Identity{Incarnation: uuid.NewString()},
		users:    make(map[string]store.User), changed: make(chan struct{}),
	}
}

func (f *fakeStore) Identity() store.Identity   { return f.identity }
func (f *fakeStore) Close() error               { return nil }
func (f *fakeStore) Ping(context.Context) error { return nil }

func (f *fakeStore) err() error {
	if f.down.Load() {
		return store.ErrUnavailable
	}
	return nil
}

// put commits a change of a user, or its deletion, behind every cache's back.
func (f *fakeStore) put(u store.User, kind store.Kind) store.User {
	f.mu.Lock()
	defer f.mu.Unlock()
	u.Version++
	u.UpdatedAt = time.Now()
	f.users[u.ID] = u
	if kind == store.Deleted {
		delete(f.users, u.ID)
	}
	f.log = append(f.log, store.Change{UserID: u.ID, Version: u.Version, Kind: kind, At: time.Now().Add(f.ahead)})
	close(f.changed)
	f.changed = make(chan struct{})
	return u
}

func (f *fakeStore) user(id string) (store.User, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, ok := f.users[id]
	return u, ok
}

func (f *fakeStore) Create(_ context.Context, n store.NewUser) (store.Written, error) {
	u := n.At(time.Now())
	u.Version = 0
	return store.Written{User: f.put(u, store.Upserted), Changed: true}, f.err()
}

func (f *fakeStore) Update(_ context.Context, update store.Update) (store.Written, error) {
	u, ok := f.user(update.ID)
	if !ok {
		return store.Written{}, store.ErrNotFound
	}
	u, _, err := u.Apply(update)
	if err != nil {
		return store.Written{}, err
	}
	return store.Written{User: f.put(u, store.Upserted), Changed: true}, nil
}

func (f *fakeStore) UpdateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	updated := make([]store.Updated, len(updates))
	for i, update := range updates {
		written, err := f.Update(ctx, update)
		updated[i] = store.Updated{Written: written, Err: err}
	}
	return updated, nil
}

// Import knows rows that update the users who have their ids.
func (f *fakeStore) Import(_ context.Context, rows []store.NewUser) ([]store.Created, error) {
	created := make([]store.Created, len(rows))
	for i, row := range rows {
		u, _ := f.user(row.ID)
		next, _, err := u.Replace(row)
		if err != nil {
			return nil, err
		}
		next = f.put(next, store.Upserted)
		created[i] = store.Created{ID: next.ID, Version: next.Version, Existing: u.Version > 0, Changed: true}
	}
	return created, nil
}

func (f *fakeStore) Delete(_ context.Context, id string, _ int64) (int64, error) {
	u, ok := f.user(id)
	if !ok {
		return 0, store.ErrNotFound
	}
	return f.put(u, store.Deleted).Version, nil
}

// refusedKey is in the contexts of a caller whose reads are refused.
type refusedKey struct{}

func (f *fakeStore) Get(ctx context.Context, id string) (store.User, error) {
	f.reads.Add(1)
	u, ok := f.user(id)
	if hold := f.afterGet.Load(); hold != nil {
		(*hold)(id)
	}
	if err := ctx.Err(); err != nil {
		return store.User{}, err
	}
	if ctx.Value(refusedKey{}) != nil {
		return store.User{}, store.ErrOverloaded
	}
	if err := uuid.Validate(id); err != nil {
		return store.User{}, err // As PostgreSQL does.
	}
	if !ok {
		return store.User{}, store.ErrNotFound
	}
	return u, f.err()
}

func (f *fakeStore) GetMany(ctx context.Context, ids []string) (out []store.User, err error) {
	for _, id := range ids {
		if u, err := f.Get(ctx, id); err == nil {
			out = append(out, u)
		}
	}
	return out, f.err()
}

// List returns everybody.
func (f *fakeStore) List(context.Context, store.Query) (store.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return store.Page{Users: slices.Collect(maps.Values(f.users))}, f.err()
}

func (f *fakeStore) RecordLogin(_ context.Context, id string, at time.Time, _ time.Duration) (store.Written, error) {
	u, ok := f.user(id)
	if !ok {
		return store.Written{}, store.ErrNotFound
	}
	u.LastLogin = at
	return store.Written{User: f.put(u, store.Upserted), Changed: true}, nil
}

func (f *fakeStore) GetByEmail(_ context.Context, email string) (store.User, error) {
	f.reads.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	for u := range maps.Values(f.users) {
		if store.FoldEmail(u.Email) == store.FoldEmail(email) {
			return u, f.err()
		}
	}
	return store.User{}, store.ErrNotFound
}

func (f *fakeStore) GetByExternalID(_ context.Context, externalID string) (store.User, error) {
	f.reads.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	for u := range maps.Values(f.users) {
		if u.ExternalID == externalID {
			return u, f.err()
		}
	}
	return store.User{}, store.ErrNotFound
}

// admit waits with a call that is not vital for its end while the store is full.
func (f *fakeStore) admit(ctx context.Context) error {
	if !f.full.Load() || store.IsVital(ctx) {
		return nil
	}
	f.queued.Add(1)
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeStore) Head(ctx context.Context) (store.Cursor, error) {
	if err := f.admit(ctx); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return store.Cursor(strconv.Itoa(len(f.log))), f.err()
}

func (f *fakeStore) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	if err := f.admit(ctx); err != nil {
		return nil, "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	from, err := strconv.Atoi(string(after))
	if err != nil || from > len(f.log) {
		return nil, "", store.ErrInvalidCursor
	}
	to := min(len(f.log), from+limit)
	return slices.Clone(f.log[from:to]), store.Cursor(strconv.Itoa(to)), f.err()
}

func (f *fakeStore) At(ctx context.Context, t time.Time) (store.Cursor, error) {
	if err := f.admit(ctx); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at, _ := slices.BinarySearchFunc(f.log, t, func(c store.Change, t time.Time) int { return c.At.Compare(t) })
	return store.Cursor(strconv.Itoa(at)), f.err()
}

func (f *fakeStore) Covers(cursor, other store.Cursor) bool {
	a, err := strconv.Atoi(string(cursor))
	b, err2 := strconv.Atoi(string(other))
	return err == nil && err2 == nil && a >= b
}

func (f *fakeStore) Wait(ctx context.Context, after store.Cursor) error {
	if err := f.admit(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	changed, at := f.changed, len(f.log)
	f.mu.Unlock()
	if n, _ := strconv.Atoi(string(after)); n < at {
		return nil
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// line is what was logged.
type line struct {
	message, cause, command string
	level                   slog.Level
}

// lines is a slog.Handler that hands lines to the test.
type lines chan line

func (l lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l lines) WithGroup(string) slog.Handler            { return l }
func (l lines) Handle(_ context.Context, r slog.Record) error {
	logged := line{message: r.Message, level: r.Level}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "cause":
			logged.cause = a.Value.String()
		case "command":
			logged.command = a.Value.String()
		}
		return true
	})
	select {
	case l <- logged:
	default:
	}
	return nil
}

// await returns the next line with the message.
func (l lines) await(t testing.TB, message string) line {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case logged := <-l:
			if logged.message == message {
				return logged
			}
		case <-deadline:
			t.Fatalf("not logged: %q", message)
		}
	}
}

// bundle is what a test needs: a store, and caches over it.
type bundle struct {
	store *fakeStore
	redis *cachetest.Redis // Nil in process.
	url   string
	lines lines // Of the cache made last.
}

// open returns a trusted cache over the store of the bundle.
func (b *bundle) open(t testing.TB, change ...func(*Config)) *Cache {
	t.Helper()
	b.lines = make(lines, 1000)
	config := Config{Redis: b.url, Logger: slog.New(b.lines)}
	for _, f := range change {
		f(&config)
	}
	c, err := New(b.store, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	b.lines.await(t, "cache is trusted")
	return c
}

// onBackends runs a test on each backend.
func onBackends(t *testing.T, f func(*testing.T, *bundle)) {
	t.Helper()
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		f(t, &bundle{store: newFakeStore()})
	})
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		r := cachetest.Start(t)
		f(t, &bundle{store: newFakeStore(), redis: r, url: r.URL()})
	})
}

// user creates a user behind the cache's back.
func (b *bundle) user(t testing.TB) store.User {
	t.Helper()
	id := uuid.NewString()
	u, err := b.store.Create(t.Context(), store.NewUser{ID: id, Email: id + "@example.com", DisplayName: "one"})
	if err != nil {
		t.Fatal(err)
	}
	return u.User
}

// rename changes a user through a cache, or behind all caches' back.
func rename(t testing.TB, s store.Store, id, name string) store.User {
	t.Helper()
	u, err := s.Update(t.Context(), store.Update{ID: id, DisplayName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return u.User
}
