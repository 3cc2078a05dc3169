package postgres_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
)

// load writes to a store from many goroutines, through failures, and remembers what
// was acknowledged.
type load struct {
	store   store.Store
	url     string
	written atomic.Int64 // Changes that were acknowledged.

	mu           sync.Mutex
	acknowledged map[string]int64 // Highest version by user.
	hot          []string         // Users that everybody writes.
}

const hotUsers = 100

func (l *load) ack(id string, version int64) {
	l.written.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged[id] = max(l.acknowledged[id], version)
	if version == 1 && len(l.hot) < hotUsers {
		l.hot = append(l.hot, id)
	}
}

func (l *load) hotUser() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.hot) == 0 {
		return newUser().ID
	}
	return l.hot[rand.IntN(len(l.hot))]
}

// write writes until total changes are acknowledged.
func (l *load) write(ctx context.Context, total int64) error {
	for l.written.Load() < total {
		err := l.writeOnce(ctx)
		switch {
		case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict):
		case err != nil:
			return err
		}
	}
	return nil
}

func (l *load) writeOnce(ctx context.Context) error {
	switch n := rand.IntN(100); {
	case n < 40:
		user, err := l.store.Create(ctx, newUser())
		return l.done(user, err)
	case n < 75:
		user, err := l.store.Update(ctx, store.Update{ID: l.hotUser(), DisplayName: new(newUser().ID)})
		return l.done(user, err)
	case n < 85:
		user, err := l.store.RecordLogin(ctx, l.hotUser(), time.Now(), 0)
		return l.done(user, err)
	case n < 90:
		return l.createAndDelete(ctx)
	case n < 95:
		return l.updateMany(ctx)
	default:
		return l.load20(ctx)
	}
}

func (l *load) done(user store.Written, err error) error {
	if err == nil {
		l.ack(user.ID, user.Version)
	}
	return err
}

func (l *load) createAndDelete(ctx context.Context) error {
	user, err := l.store.Create(ctx, newUser())
	if err != nil {
		return err
	}
	l.written.Add(1)
	version, err := l.store.Delete(ctx, user.ID, 0)
	return l.done(store.Written{User: store.User{ID: user.ID, Version: max(version, 1)}}, err)
}

func (l *load) updateMany(ctx context.Context) error {
	var updates []store.Update
	for range 5 {
		updates = append(updates, store.Update{ID: l.hotUser(), DisplayName: new(newUser().ID)})
	}
	results, err := l.store.UpdateMany(ctx, updates)
	for _, result := range results {
		if result.Err == nil {
			l.ack(result.User.ID, result.User.Version)
		}
	}
	return err
}

func (l *load) load20(ctx context.Context) error {
	var users []store.NewUser
	for range 20 {
		users = append(users, newUser())
	}
	results, err := l.store.Import(ctx, users)
	for _, result := range results {
		l.ack(result.ID, 1)
	}
	return err
}

// hold keeps transactions open for up to 3 s until total changes are acknowledged.
// Each takes its id early and changes a hot user late; one in five is rolled back.
func (l *load) hold(ctx context.Context, total int64) error {
	for l.written.Load() < total {
		if err := l.holdOnce(ctx); ctx.Err() != nil {
			return err
		}
	}
	return nil
}

func (l *load) holdOnce(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, l.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	user := newUser()
	if _, err := tx.Exec(ctx, insertUserSQL, user.ID, user.Email); err != nil {
		return err
	}
	timer := time.NewTimer(rand.N(3 * time.Second))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := tx.Exec(ctx, touchUserSQL, l.hotUser()); err != nil {
		return err
	}
	if rand.IntN(5) == 0 {
		return tx.Rollback(ctx)
	}
	return tx.Commit(ctx)
}

// check checks that every acknowledged change is in the log.
func (l *load) check(t testing.TB, logged []store.Change) {
	t.Helper()
	last := make(map[string]int64)
	for _, change := range logged {
		last[change.UserID] = change.Version
	}
	for id, version := range l.acknowledged {
		if last[id] < version {
			t.Errorf("version %d of user %s was acknowledged, the log ends at %d", version, id, last[id])
		}
	}
}
