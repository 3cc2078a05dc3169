package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/store"
)

// Read says how fresh a read must be. The zero value is the cache's promise: at
// most X old, never older than this server has shown or written.
type Read struct {
	MinVersion int64 // The user is at this version at least; 0 for any.
	NoCache    bool  // The store itself is asked.
}

// Lookup returns a user by id; that there is none is no error. It returns
// the errors of store.Store.Get but for ErrNotFound.
func (c *Cache) Lookup(ctx context.Context, id string, read Read) (Entry, error) {
	if e, ok := c.Cached(id, read); ok {
		return e, nil
	}
	k := userKey(id)
	if read.NoCache {
		return one(c.direct(ctx, []key{k}))
	}
	return one(c.miss(ctx, []key{k}, read.MinVersion))
}

func one(entries []Entry, err error) (Entry, error) {
	if err != nil {
		return Entry{}, err
	}
	return entries[0], nil
}

// Cached returns what Lookup would, where this process has it and may show it.
// Where it is false nothing is wrong: Lookup knows. It waits for nobody, asks
// neither Redis nor the store, and may be called where nothing may block.
func (c *Cache) Cached(id string, read Read) (Entry, bool) {
	if read.NoCache {
		return Entry{}, false
	}
	e, ok := c.hit(userKey(id), read.MinVersion)
	if ok {
		c.counts.near.Add(1)
	}
	return e, ok
}

// LookupMany returns users by id, in the order of the ids, each as Lookup does.
// They may be of different moments.
func (c *Cache) LookupMany(ctx context.Context, ids []string, read Read) ([]Entry, error) {
	out := make([]Entry, len(ids))
	var missing []key
	var at []int
	for i, id := range ids {
		k := userKey(id)
		if !read.NoCache {
			if e, ok := c.hit(k, read.MinVersion); ok {
				out[i] = e
				continue
			}
		}
		missing, at = append(missing, k), append(at, i)
	}
	c.counts.near.Add(int64(len(ids) - len(missing)))
	if len(missing) == 0 {
		return out, nil
	}
	var entries []Entry
	var err error
	if read.NoCache {
		entries, err = c.direct(ctx, missing)
	} else {
		entries, err = c.miss(ctx, missing, read.MinVersion)
	}
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		out[at[i]] = e
	}
	return out, nil
}

// hit returns what the near cache has, where that is allowed to be shown.
func (c *Cache) hit(k key, minVersion int64) (Entry, bool) {
	h, fresh := c.backend.near(k)
	if h == nil {
		return Entry{}, false
	}
	return c.allowed(k, h, fresh, minVersion)
}

// allowed says whether h may be shown: it is as new as asked for, no older than
// what was shown before, and from data that are complete enough. That is looked at
// last, so that a floor that was forgotten, or a slow caller, does no harm.
func (c *Cache) allowed(k key, h *held, fresh, minVersion int64) (Entry, bool) {
	if h.kind != found && h.kind != tombstone || h.version < minVersion {
		return Entry{}, false
	}
	if !c.floors.of(k).allows(h.kind == found, h.version) {
		return Entry{}, false
	}
	least, now := c.floors.least.Load(), c.clock()
	if fresh == 0 || fresh < least || now-fresh > int64(c.config.Staleness) || now >= h.expires {
		return Entry{}, false
	}
	if !h.checked.Load() && !c.check(k, h) {
		return Entry{}, false
	}
	if raised := h.floored.Load(); raised == 0 || now-raised > int64(c.config.Staleness)/2 {
		c.floors.raise(k, h.version)
		h.floored.Store(now)
	}
	return h.entry(), true
}

// check looks at a value once, before it is used the first time. What is not the user
// that it should be is corrupt, and so is what is no id where it is that of a name.
func (c *Cache) check(k key, h *held) bool {
	if h.kind == found && k.space == byID {
		u, err := c.config.Decode(h.payload())
		if err != nil || u.ID != k.name || u.Version != h.version {
			return false
		}
	} else if h.kind == found && uuid.Validate(string(h.payload())) != nil {
		return false
	}
	h.checked.Store(true)
	return true
}

// miss joins or starts the flights of the keys and returns what they bring.
func (c *Cache) miss(ctx context.Context, keys []key, minVersion int64) ([]Entry, error) {
	began := c.clock()
	floors := make([]floor, len(keys))
	for i, k := range keys {
		floors[i] = c.floors.of(k)
		floors[i].version = max(floors[i].version, minVersion)
	}
	least := max(c.floors.least.Load(), began-int64(c.config.Staleness))
	flights, own := c.flights.board(keys, began, int64(c.config.Staleness)/2)
	if len(own) > 0 {
		c.wait.Go(func() { c.fly(carried{c.ctx, ctx}, own) })
	}
	out := make([]Entry, len(keys))
	var again []key
	var at []int
	for i, f := range flights {
		select {
		case <-f.landed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// Whether a read is refused depends on whose it is: who shared it asks for himself.
		refused := errors.Is(f.err, store.ErrOverloaded) && !slices.Contains(own, f)
		if f.err != nil && !refused {
			return nil, f.err
		}
		// A flight that began before this call may bring what was true before it.
		stale := f.asOf < least
		if refused || stale || !f.answers(began, floors[i]) {
			again, at = append(again, keys[i]), append(at, i)
			continue
		}
		out[i] = f.entry
	}
	if len(again) == 0 {
		return out, nil
	}
	entries, err := c.direct(ctx, again)
	for i, e := range entries {
		out[at[i]] = e
	}
	return out, err
}

// direct is fromStore for one caller, who gets all users or none.
func (c *Cache) direct(ctx context.Context, keys []key) ([]Entry, error) {
	answers, err := c.fromStore(ctx, keys)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(answers))
	for i, answer := range answers {
		if answer.err != nil {
			return nil, answer.err
		}
		entries[i] = answer.entry
	}
	return entries, nil
}

// answer is what the store says of one key.
type answer struct {
	entry Entry
	err   error // Why the user that it has cannot be shown.
}

// fromStore reads users from the store.
func (c *Cache) fromStore(ctx context.Context, keys []key) ([]answer, error) {
	c.counts.store.Add(int64(len(keys)))
	asked := c.clock()
	if len(keys) == 1 {
		u, err := c.Store.Get(ctx, keys[0].name)
		if errors.Is(err, store.ErrNotFound) {
			c.floors.missing(keys[0], c.clock())
			return []answer{{}}, nil
		}
		if err != nil {
			return nil, err
		}
		return []answer{c.shown(u, asked)}, nil
	}
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.name
	}
	users, err := c.Store.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	answered := c.clock()
	answers := make([]answer, len(keys))
	for i, k := range keys {
		if len(users) > 0 && users[0].ID == k.name {
			answers[i], users = c.shown(users[0], asked), users[1:]
			continue
		}
		c.floors.missing(k, answered)
	}
	return answers, nil
}

// shown encodes a user that the store returned when it was asked, and raises the floor to it.
func (c *Cache) shown(u store.User, asked int64) answer {
	data, err := c.config.Encode(u)
	if err != nil {
		return answer{err: err}
	}
	c.floors.found(userKey(u.ID), u.Version, asked)
	if time.Since(u.UpdatedAt) < recent {
		c.named(u, asked, c.clock())
	}
	return answer{entry: Entry{Data: data, Version: u.Version, Found: true}}
}

// named remembers by which names a store that was asked and has answered at these times has a
// user: who is looked up by them is no other.
func (c *Cache) named(u store.User, asked, answered int64) {
	c.floors.owned(emailKey(u.Email), u.ID, asked, answered)
	if u.ExternalID != "" {
		c.floors.owned(externalIDKey(u.ExternalID), u.ID, asked, answered)
	}
}

// LookupByEmail returns a user by email, without regard to ASCII case; that there
// is none is no error. It returns the errors of store.Store.GetByEmail but for
// ErrNotFound.
func (c *Cache) LookupByEmail(ctx context.Context, email string, read Read) (Entry, error) {
	return c.lookupByName(ctx, name{
		key: emailKey(email),
		is:  func(u *store.User) bool { return store.FoldEmail(u.Email) == store.FoldEmail(email) },
		get: func() (store.User, error) { return c.Store.GetByEmail(ctx, email) },
	}, read)
}

// LookupByExternalID returns a user by external id; that there is none is no error. It
// returns the errors of store.Store.GetByExternalID but for ErrNotFound.
func (c *Cache) LookupByExternalID(ctx context.Context, externalID string, read Read) (Entry, error) {
	return c.lookupByName(ctx, name{
		key: externalIDKey(externalID),
		is:  func(u *store.User) bool { return u.ExternalID == externalID },
		get: func() (store.User, error) { return c.Store.GetByExternalID(ctx, externalID) },
	}, read)
}

// name is what one user at a time has, and may give up.
type name struct {
	key key
	is  func(u *store.User) bool   // Whether u has it.
	get func() (store.User, error) // Who has it, by the store.
}

// lookupByName asks the backend about the name for no longer than backendBudget in all, and
// about the user as every lookup does.
func (c *Cache) lookupByName(ctx context.Context, n name, read Read) (Entry, error) {
	if read.NoCache {
		return c.byStoredName(n, "")
	}
	budget := backendBudget
	h, fresh := c.backend.near(n.key)
	if h == nil && fresh != 0 && c.backend.ready() {
		began := c.clock()
		h = c.readName(ctx, n.key)
		budget -= time.Duration(c.clock() - began)
	}
	if h != nil && h.kind == found {
		if e, ok, err := c.byKnownName(ctx, n, h, read); ok || err != nil {
			return e, err
		}
	}
	return c.byStoredName(n, c.leaseName(ctx, n.key, h, budget))
}

// readName returns what the backend has for a name, or nil.
func (c *Cache) readName(ctx context.Context, k key) *held {
	bounded, cancel := context.WithTimeout(carried{c.ctx, ctx}, backendBudget) // Not the caller's: its end is no error of Redis.
	defer cancel()
	slots, err := c.backend.read(bounded, []key{k})
	if err != nil {
		return nil
	}
	return slots[0].held
}

// byKnownName looks a user up whose id the cache has for the name. What the cache says
// need not be fresh: the user is looked up as every other, and has the name or has not.
func (c *Cache) byKnownName(ctx context.Context, n name, h *held, read Read) (Entry, bool, error) {
	if !h.checked.Load() && !c.check(n.key, h) {
		c.counts.corrupt.Add(1)
		return Entry{}, false, nil
	}
	id := string(h.payload())
	if !c.floors.mayOwn(n.key, id) {
		return Entry{}, false, nil
	}
	e, err := c.Lookup(ctx, id, read)
	if err != nil || !e.Found {
		return Entry{}, false, err
	}
	u, err := c.config.Decode(e.Data)
	if err != nil {
		return Entry{}, false, fmt.Errorf("decode user: %w", err)
	}
	return e, n.is(&u), nil
}

// byStoredName asks the store, and lets the cache know the id where it has the lease.
func (c *Cache) byStoredName(n name, token string) (Entry, error) {
	c.counts.store.Add(1)
	asked := c.clock()
	u, err := n.get()
	if errors.Is(err, store.ErrNotFound) {
		c.floors.owned(n.key, "", asked, c.clock())
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, err
	}
	answer := c.shown(u, asked)
	if token != "" && answer.err == nil {
		c.fillLater([]fill{{n.key, token, newSlot(found, u.Version, []byte(u.ID))}})
	}
	return answer.entry, answer.err
}

// leaseName takes the lease of a name, over what was there, and returns its token, or "".
func (c *Cache) leaseName(ctx context.Context, k key, was *held, budget time.Duration) string {
	if _, fresh := c.backend.near(k); was == nil || was.kind == lease || budget <= 0 || fresh == 0 || !c.backend.ready() {
		return ""
	}
	token, err := c.token()
	if err != nil {
		return ""
	}
	bounded, cancel := context.WithTimeout(carried{c.ctx, ctx}, budget)
	defer cancel()
	granted, err := c.backend.acquire(bounded, []claim{{k, token, was.raw}})
	if err != nil || !granted[0] {
		return ""
	}
	return token
}

// recent is how old a change can be for a cache to be behind it, with room for long
// transactions and for clocks that differ.
const recent = replayMargin

// Changes is store.Store.Changes, from the store. Who is told of a change here is shown
// nothing older here.
func (c *Cache) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	changes, next, err := c.Store.Changes(ctx, after, limit)
	answered := c.clock()
	for _, change := range changes {
		switch k := userKey(change.UserID); {
		case time.Since(change.At) >= recent:
		case change.Kind == store.Deleted:
			c.floors.missing(k, answered)
		default:
			c.floors.raise(k, change.Version)
		}
	}
	return changes, next, err
}

// GetMany is store.Store.GetMany: all are from one moment, so none from the cache.
func (c *Cache) GetMany(ctx context.Context, ids []string) ([]store.User, error) {
	asked := c.clock()
	users, err := c.Store.GetMany(ctx, ids)
	c.listed(users, asked)
	return users, err
}

// List is store.Store.List, from the store.
func (c *Cache) List(ctx context.Context, query store.Query) (store.Page, error) {
	asked := c.clock()
	page, err := c.Store.List(ctx, query)
	c.listed(page.Users, asked)
	return page, err
}

// listed raises the floors to users that were shown, by a store that was asked at a time, and
// may be newer than what is cached.
func (c *Cache) listed(users []store.User, asked int64) {
	answered := c.clock()
	for _, u := range users {
		if time.Since(u.UpdatedAt) < recent {
			c.floors.raise(userKey(u.ID), u.Version)
			c.named(u, asked, answered)
		}
	}
}

// Get returns a user by id, or store.ErrNotFound. It promises what Lookup does.
func (c *Cache) Get(ctx context.Context, id string) (store.User, error) {
	e, err := c.Lookup(ctx, id, Read{})
	return c.decode(e, err)
}

// GetByEmail returns a user by email, without regard to ASCII case, or
// store.ErrNotFound. It promises what LookupByEmail does.
func (c *Cache) GetByEmail(ctx context.Context, email string) (store.User, error) {
	e, err := c.LookupByEmail(ctx, email, Read{})
	return c.decode(e, err)
}

// GetByExternalID returns a user by external id, or store.ErrNotFound. It promises what
// LookupByExternalID does.
func (c *Cache) GetByExternalID(ctx context.Context, externalID string) (store.User, error) {
	e, err := c.LookupByExternalID(ctx, externalID, Read{})
	return c.decode(e, err)
}

func (c *Cache) decode(e Entry, err error) (store.User, error) {
	if err != nil {
		return store.User{}, err
	}
	if !e.Found {
		return store.User{}, store.ErrNotFound
	}
	u, err := c.config.Decode(e.Data)
	if err != nil {
		return store.User{}, fmt.Errorf("decode user: %w", err)
	}
	return u, nil
}
