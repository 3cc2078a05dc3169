package admission

import (
	"context"
	"log/slog"
	"time"

	"github.com/example/userd/store"
)

// Store is a store whose calls begin when they may. It returns store.ErrOverloaded for
// those that it refuses, of which nothing has reached the store below.
type Store struct {
	store.Store
	// CallerOf says whose calls those with a context are. Default: all are of one caller.
	CallerOf func(context.Context) string

	queues  [classes]ticket
	turns   *turns // Nil where writes share a transaction, in which none waits for another.
	refused [classes]refusals
	log     *slog.Logger
}

// ticket is where a class gets in.
type ticket struct {
	share *share
	queue *queue
}

// New admits the calls of a store, which is closed with it.
func New(of store.Store, log *slog.Logger) *Store {
	s := &Store{Store: of, log: log}
	if of.Capacity().Writes == 0 {
		s.turns = &turns{users: make(map[string]*turn)}
	}
	for _, share := range sharesOf(of.Capacity()) {
		for _, q := range share.queues {
			s.queues[q.class] = ticket{share, q}
		}
	}
	return s
}

// admit calls f when a call of a class may begin.
func admit[T any](ctx context.Context, s *Store, class Class, f func() (T, error)) (T, error) {
	return admitSince(ctx, s, class, time.Now(), f)
}

// admitSince is admit for a call that has waited since a time.
func admitSince[T any](ctx context.Context, s *Store, class Class, since time.Time, f func() (T, error)) (none T, err error) {
	if store.IsVital(ctx) || class == Bulk && hasTurn(ctx) {
		return f()
	}
	from := streamOf(ctx, class)
	if from != nil {
		if !from.resume() {
			return none, s.refusal(class, store.ErrOverloaded)
		}
		defer from.pause()
	}
	t := s.queues[class]
	call, err := t.share.begin(ctx, t.queue, s.callerOf(ctx), since, from != nil)
	if err != nil {
		return none, s.refusal(class, err)
	}
	defer t.share.end(call)
	return f()
}

func (s *Store) callerOf(ctx context.Context) string {
	if s.CallerOf == nil {
		return ""
	}
	return s.CallerOf(ctx)
}

// Refuse returns the error of a call of a caller and a class where it would be refused if it
// came now, and counts it as refused. It waits for nothing.
func (s *Store) Refuse(caller string, class Class) error {
	if t := s.queues[class]; !t.share.refuses(t.queue, caller) {
		return nil
	}
	return s.refusal(class, store.ErrOverloaded)
}

// write is admit for a write of a user that is there. Where it had to wait for its turn, it
// need not wait again behind those that have come later: others have the turn after it.
func write[T any](ctx context.Context, s *Store, user string, f func() (T, error)) (none T, err error) {
	since := time.Now()
	if s.turns != nil {
		end, err := s.turns.begin(ctx, user, s.callerOf(ctx))
		if err != nil {
			return none, s.refusal(Write, err)
		}
		defer end()
	}
	return admitSince(ctx, s, Write, since, f)
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, user store.NewUser) (store.Written, error) {
	return admit(ctx, s, Write, func() (store.Written, error) { return s.Store.Create(ctx, user) })
}

// Import implements store.Store.
func (s *Store) Import(ctx context.Context, users []store.NewUser) ([]store.Created, error) {
	return admit(ctx, s, Bulk, func() ([]store.Created, error) { return s.Store.Import(ctx, users) })
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, id string) (store.User, error) {
	return admit(ctx, s, Lookup, func() (store.User, error) { return s.Store.Get(ctx, id) })
}

// GetMany implements store.Store.
func (s *Store) GetMany(ctx context.Context, ids []string) ([]store.User, error) {
	class := Lookup
	if store.IsCatchingUp(ctx) {
		class = CatchUp
	}
	return admit(ctx, s, class, func() ([]store.User, error) { return s.Store.GetMany(ctx, ids) })
}

// GetByEmail implements store.Store.
func (s *Store) GetByEmail(ctx context.Context, email string) (store.User, error) {
	return admit(ctx, s, Lookup, func() (store.User, error) { return s.Store.GetByEmail(ctx, email) })
}

// GetByExternalID implements store.Store.
func (s *Store) GetByExternalID(ctx context.Context, externalID string) (store.User, error) {
	return admit(ctx, s, Lookup, func() (store.User, error) { return s.Store.GetByExternalID(ctx, externalID) })
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, query store.Query) (store.Page, error) {
	class := List
	if query.Filters() {
		class = Search
	}
	return admit(ctx, s, class, func() (store.Page, error) { return s.Store.List(ctx, query) })
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, update store.Update) (store.Written, error) {
	return write(ctx, s, update.ID, func() (store.Written, error) { return s.Store.Update(ctx, update) })
}

// UpdateMany implements store.Store.
func (s *Store) UpdateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	class := Bulk
	if s.turns == nil && len(updates) <= smallGroup {
		class = Write
	}
	return admit(ctx, s, class, func() ([]store.Updated, error) { return s.Store.UpdateMany(ctx, updates) })
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, id string, expectedVersion int64) (int64, error) {
	return write(ctx, s, id, func() (int64, error) { return s.Store.Delete(ctx, id, expectedVersion) })
}

// RecordLogin implements store.Store.
func (s *Store) RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (store.Written, error) {
	return write(ctx, s, id, func() (store.Written, error) { return s.Store.RecordLogin(ctx, id, at, resolution) })
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context) (store.Cursor, error) {
	return admit(ctx, s, Lookup, func() (store.Cursor, error) { return s.Store.Head(ctx) })
}

// Changes implements store.Store.
func (s *Store) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	type page struct {
		changes []store.Change
		next    store.Cursor
	}
	p, err := admit(ctx, s, CatchUp, func() (p page, err error) {
		p.changes, p.next, err = s.Store.Changes(ctx, after, limit)
		return p, err
	})
	return p.changes, p.next, err
}
