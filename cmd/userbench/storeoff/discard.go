package main

import (
	"context"
	"sort"
	"time"

	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/store"
)

// discard is a store that has a fixed set of users and accepts every write without
// keeping it.
type discard struct {
	users []store.User
	byID  map[string]int
}

var _ store.Store = (*discard)(nil)

func newDiscard(made *population.Users) *discard {
	d := &discard{byID: make(map[string]int, made.Len())}
	for i := range made.Len() {
		user := made.User(i)
		created := user.GetCreatedAt().AsTime().Add(time.Duration(i) * time.Microsecond)
		d.byID[user.GetId()] = i
		d.users = append(d.users, store.User{
			ID: user.GetId(), Email: user.GetEmail(), DisplayName: user.GetDisplayName(),
			Roles: user.GetRoles(), CreatedAt: created, UpdatedAt: created, Version: 1,
		})
	}
	return d
}

func (d *discard) Get(_ context.Context, id string) (store.User, error) {
	i, ok := d.byID[id]
	if !ok {
		return store.User{}, store.ErrNotFound
	}
	return d.users[i], nil
}

func (d *discard) GetMany(ctx context.Context, ids []string) ([]store.User, error) {
	var found []store.User
	for _, id := range ids {
		if user, err := d.Get(ctx, id); err == nil {
			found = append(found, user)
		}
	}
	return found, nil
}

func (d *discard) GetByEmail(context.Context, string) (store.User, error) {
	return store.User{}, store.ErrNotFound
}

func (d *discard) GetByExternalID(context.Context, string) (store.User, error) {
	return store.User{}, store.ErrNotFound
}

func (d *discard) List(_ context.Context, query store.Query) (store.Page, error) {
	from := sort.Search(len(d.users), func(i int) bool { return d.users[i].CreatedAt.After(query.After.CreatedAt) })
	return store.PageOf(d.users[from:min(from+query.Limit, len(d.users))], query.Limit), nil
}

func (d *discard) Create(_ context.Context, user store.NewUser) (store.Written, error) {
	return store.Written{User: user.At(time.Time{}), Changed: true}, nil
}

func (d *discard) Import(_ context.Context, users []store.NewUser) ([]store.Created, error) {
	created := make([]store.Created, len(users))
	for i, user := range users {
		created[i] = store.Created{ID: user.ID, Version: 1, Changed: true}
	}
	return created, nil
}

func (d *discard) Update(ctx context.Context, update store.Update) (store.Written, error) {
	return d.written(ctx, update.ID)
}

// written is a user whom a write has left as it was.
func (d *discard) written(ctx context.Context, id string) (store.Written, error) {
	user, err := d.Get(ctx, id)
	return store.Written{User: user}, err
}

func (d *discard) UpdateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	outcomes := make([]store.Updated, len(updates))
	for i, update := range updates {
		outcomes[i].Written, outcomes[i].Err = d.written(ctx, update.ID)
	}
	return outcomes, nil
}

func (d *discard) Delete(context.Context, string, int64) (int64, error) { return 2, nil }

func (d *discard) RecordLogin(ctx context.Context, id string, _ time.Time, _ time.Duration) (store.Written, error) {
	return d.written(ctx, id)
}

func (d *discard) Head(context.Context) (store.Cursor, error) { return "head", nil }

func (d *discard) Changes(_ context.Context, after store.Cursor, _ int) ([]store.Change, store.Cursor, error) {
	return nil, after, nil
}

func (d *discard) At(context.Context, time.Time) (store.Cursor, error) { return "head", nil }

func (d *discard) Covers(cursor, other store.Cursor) bool { return cursor == other }

// Wait never has anything to tell.
func (d *discard) Wait(ctx context.Context, _ store.Cursor) error {
	<-ctx.Done()
	return ctx.Err()
}

func (d *discard) Span(context.Context) (store.Span, error) { return store.Span{}, nil }

func (d *discard) Prune(context.Context, time.Time) (int64, error) { return 0, nil }

func (d *discard) Identity() store.Identity {
	return store.Identity{Incarnation: "00000000-0000-4000-8000-000000000000"}
}

func (d *discard) Ping(context.Context) error { return nil }

func (d *discard) Close() error { return nil }

func (d *discard) Capacity() store.Capacity { return store.Capacity{Reads: 1} }
