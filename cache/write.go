package cache

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/example/userd/store"
)

// Create is store.Store.Create; reads here show the user when it returns.
func (c *Cache) Create(ctx context.Context, user store.NewUser) (store.Written, error) {
	asked := c.clock()
	u, err := c.Store.Create(ctx, user)
	if err == nil {
		c.wrote(asked, append(nameChanges(u.ID, u.Email, u.ExternalID, u.Version), c.upserted(u.User))...)
	}
	return u, err
}

// Import is store.Store.Import; reads here show the users when it returns.
func (c *Cache) Import(ctx context.Context, users []store.NewUser) ([]store.Created, error) {
	asked := c.clock()
	created, err := c.Store.Import(ctx, users)
	changes := make([]change, 0, 2*len(created))
	for i, row := range created {
		if row.Err == nil && (!row.Existing || users[i].OnConflict == store.UpdateOnConflict) {
			changes = append(changes, change{key: userKey(row.ID), version: row.Version})
			changes = append(changes, nameChanges(row.ID, users[i].Email, users[i].ExternalID, row.Version)...)
		}
	}
	c.wrote(asked, changes...)
	return created, err
}

// Update is store.Store.Update; reads here show the change when it returns.
func (c *Cache) Update(ctx context.Context, update store.Update) (store.Written, error) {
	asked := c.clock()
	u, err := c.Store.Update(ctx, update)
	if err == nil {
		c.named(u.User, asked, c.clock())
		c.wrote(asked, c.updated(u.User, update)...)
	}
	c.refused(update.ID, update.ExpectedVersion, err)
	return u, err
}

// UpdateMany is store.Store.UpdateMany; reads here show the changes when it
// returns.
func (c *Cache) UpdateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	asked := c.clock()
	updated, err := c.Store.UpdateMany(ctx, updates)
	answered := c.clock()
	changes := make([]change, 0, len(updated))
	for i, row := range updated {
		if row.Err == nil {
			c.named(row.User, asked, answered)
			changes = append(changes, c.updated(row.User, updates[i])...)
		}
		c.refused(updates[i].ID, updates[i].ExpectedVersion, row.Err)
	}
	c.wrote(asked, changes...)
	return updated, err
}

// Delete is store.Store.Delete; reads here show that the user is gone when it
// returns.
func (c *Cache) Delete(ctx context.Context, id string, expectedVersion int64) (int64, error) {
	asked := c.clock()
	version, err := c.Store.Delete(ctx, id, expectedVersion)
	if err == nil {
		c.wrote(asked, change{key: userKey(id), version: version, raw: newSlot(tombstone, version, nil).raw})
	}
	c.refused(id, expectedVersion, err)
	return version, err
}

// RecordLogin is store.Store.RecordLogin; reads here show the login when it
// returns.
func (c *Cache) RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (store.Written, error) {
	asked := c.clock()
	u, err := c.Store.RecordLogin(ctx, id, at, resolution)
	if err == nil {
		c.named(u.User, asked, c.clock())
		c.wrote(asked, c.upserted(u.User))
	}
	c.refused(id, 0, err)
	return u, err
}

// refused learns from the error of a write what its caller does: that the user is not there,
// or not at the version that was expected. Who reads it again here is not shown it so.
func (c *Cache) refused(id string, expected int64, err error) {
	switch {
	case errors.Is(err, store.ErrNotFound):
		c.floors.missing(userKey(id), c.clock())
	case errors.Is(err, store.ErrVersionMismatch) && expected < math.MaxInt64:
		c.floors.raise(userKey(id), expected+1)
	}
}

// updated is what an update changes. What the user was found by before needs nothing: who
// is found by it is looked up, and has it or has not.
func (c *Cache) updated(u store.User, update store.Update) []change {
	changes := []change{c.upserted(u)}
	if update.Email != nil {
		changes = append(changes, nameChanges(u.ID, u.Email, "", u.Version)...)
	}
	if update.ExternalID != nil {
		changes = append(changes, nameChanges(u.ID, "", u.ExternalID, u.Version)...)
	}
	return changes
}

// nameChanges is that a user has an email and an external id now, where they are not empty.
// Until it is known everywhere that another user has them no more, this server shows no other
// for them.
func nameChanges(id, email, externalID string, version int64) []change {
	var changes []change
	if email != "" {
		changes = append(changes, change{key: emailKey(email), version: version, owner: id})
	}
	if externalID != "" {
		changes = append(changes, change{key: externalIDKey(externalID), version: version, owner: id})
	}
	return changes
}

func (c *Cache) upserted(u store.User) change {
	changed := change{key: userKey(u.ID), version: u.Version}
	if !c.backend.mayHold(changed.key) {
		return changed
	}
	if data, err := c.config.Encode(u); err == nil {
		changed.raw = newSlot(found, u.Version, data).raw
	}
	return changed
}

// wrote makes changes known that were committed after the store was asked to: to this server
// for good, to the others as far as that works within applyBudget. The change log is what
// obliges; the relay does what is left.
func (c *Cache) wrote(asked int64, changes ...change) {
	if len(changes) == 0 {
		return
	}
	answered := c.clock()
	for _, change := range changes {
		if change.key.space == byID {
			c.floors.raise(change.key, change.version)
		} else {
			c.floors.owned(change.key, change.owner, asked, answered)
		}
	}
	if !c.backend.ready() {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, applyBudget)
	defer cancel()
	if err := c.backend.apply(ctx, changes); err != nil {
		c.counts.appliesLost.Add(1)
	}
}
