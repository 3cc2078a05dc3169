// Package store says what userd asks of a database.
//
// [Store] is the interface; the comments of its methods are its specification,
// and storetest checks each sentence of them against every engine. The package
// knows neither protobuf nor HTTP nor any driver.
//
// # Versions
//
// A user has a version: 1 when it is created, one more with every change, and
// once more when it is deleted. An id is never used again after that, so a
// version of an id means one state for ever. Optimistic locks, ETags and the
// fences of a cache rest on it.
//
// # The change log
//
// Every change writes a row to the change log in its own transaction: user id,
// version, kind and time, no personal data. A [Cursor] is a position in it.
// Whoever reads [Store.Changes] from a cursor to the end, over restarts, misses
// no committed change.
package store

import (
	"context"
	"slices"
	"time"
)

// User is one user as every engine keeps it. Times have microseconds and are UTC.
type User struct {
	ID          string // UUID in lower case.
	Email       string // As given; unique without regard to ASCII case.
	DisplayName string
	CreatedAt   time.Time
	UpdatedAt   time.Time
	LastLogin   time.Time // Zero before the first login.
	Roles       []string  // Sorted, without duplicates; nil for none.
	Version     int64
}

// MaxRoles is the number of roles that a user can have.
const MaxRoles = 32

// NewUser is a user to create. Its fields are valid: the engines check only what
// concerns other rows.
type NewUser struct {
	ID          string // UUID in lower case.
	Email       string
	DisplayName string
	Roles       []string // In any order, without duplicates.
}

// Created is what became of one row of an import.
type Created struct {
	ID  string // Of the user, where Err is nil.
	Err error  // ErrEmailTaken or ErrIDTaken where the row was not stored.
}

// Update is a change to one user.
type Update struct {
	ID              string
	DisplayName     *string  // Nil leaves it as it is.
	AddRoles        []string // A role that is there already changes nothing.
	RemoveRoles     []string // A role that is not there changes nothing.
	ExpectedVersion int64    // 0 takes any version.
}

// Updated is what became of one of several updates.
type Updated struct {
	User User  // After the update, where Err is nil.
	Err  error // ErrNotFound, ErrVersionMismatch or ErrTooManyRoles.
}

// Capacity is how many calls a store can do at a time.
type Capacity struct {
	Reads int // Connections for reads; for writes, too, where Writes is 0.
	// Writes is how many writes share a transaction. Where it is 0 each has a connection
	// and a transaction of its own, and waits there for those that write the same user.
	Writes int
	// Rows is the most rows that one import should have now, because writes of others
	// would wait for all of them. It is 0 where none do.
	Rows int
}

// Position is a place in the order of all users: by time of creation, then by
// id. The zero Position is before every user.
type Position struct {
	CreatedAt time.Time
	ID        string
}

// Position says where u stands.
func (u User) Position() Position { return Position{CreatedAt: u.CreatedAt, ID: u.ID} }

// Query selects users. The zero value of a filter selects all.
type Query struct {
	After        Position
	Limit        int    // Most users to return; at least 1.
	EmailPrefix  string // Start of the email, without regard to ASCII case.
	NameContains string // Part of the display name, without regard to case.
	Role         string // A role that the user has.
}

// Kind says what a change did.
type Kind int8

// The kinds of change.
const (
	Upserted Kind = 1 // Created or changed.
	Deleted  Kind = 2
)

// Change is one row of the change log.
type Change struct {
	UserID  string
	Version int64
	Kind    Kind
	At      time.Time
}

// Cursor is a position in the change log: the changes up to it have been read,
// those after it have not. It is opaque; each engine has its own form, which
// survives restarts.
type Cursor string

// Earliest is the cursor before the oldest change that is kept.
const Earliest Cursor = "earliest"

// Identity names a store.
type Identity struct {
	// Incarnation is a UUID made when the store is created, and again when it is
	// restored from a backup. Versions and cursors of one incarnation mean nothing
	// in another.
	Incarnation string
	// Secret is made with the store. Servers on one store seal page tokens with it.
	Secret [32]byte
}

// Store keeps users. All methods may be called concurrently. They return
// ErrUnavailable when the database cannot be reached, ErrConflict when a write
// lost against a concurrent one, or has waited for it for seconds, and can be sent
// again, and the context's error when the context ends first. Errors wrap the
// sentinels of this package, for errors.Is.
//
// A call returns when its context ends. What it was doing is then ended too: nothing is
// begun for a context that has ended, and a write that was under way may have been
// committed or not. The call may still read its arguments, so the caller leaves them as
// they are.
//
// Calls whose context is marked by [Vital] never wait behind others for a connection.
//
// Other programs may have written to the database. What they have put into the row of
// a user, as far as the types of its columns allow it, is returned as it is and hinders
// no other user; whoever shows users checks them with [User.Check].
type Store interface {
	// Create stores a new user at version 1 and returns it. It returns
	// ErrEmailTaken when another user has the email, without regard to ASCII case,
	// and ErrIDTaken when another user has or had the id. When the user with this
	// id has this email already, Create changes nothing and returns that user.
	Create(ctx context.Context, user NewUser) (User, error)

	// Import creates users in one transaction, each by the rules of Create, and
	// says for each, in order, what became of it. A row that cannot be stored does
	// not hinder the others. Of two rows with one email or one id the first wins.
	// The users' times of creation are in the order of the rows. When Import
	// returns an error, no row of the call is stored.
	Import(ctx context.Context, users []NewUser) ([]Created, error)

	// Get returns a user by id, or ErrNotFound.
	Get(ctx context.Context, id string) (User, error)

	// GetMany returns the users with these ids, in the order of the ids, all from
	// one moment. Ids of nobody are left out; an id that is given twice is returned
	// twice.
	GetMany(ctx context.Context, ids []string) ([]User, error)

	// GetByEmail returns a user by email, without regard to ASCII case, or
	// ErrNotFound.
	GetByEmail(ctx context.Context, email string) (User, error)

	// List returns the users that match every filter of the query, in the order of
	// their positions, from the first after query.After, at most query.Limit.
	List(ctx context.Context, query Query) ([]User, error)

	// Update changes a user and returns it as it is then. It returns ErrNotFound,
	// ErrVersionMismatch when the user is not at the expected version, and
	// ErrTooManyRoles when the user would have more than MaxRoles. An update that
	// changes nothing returns the user as it is: no new version, no change in the
	// log.
	Update(ctx context.Context, update Update) (User, error)

	// UpdateMany applies updates in order in one transaction, each by the rules of
	// Update, and says for each what became of it. One that cannot be applied does
	// not hinder the others. When UpdateMany returns an error, none is applied.
	UpdateMany(ctx context.Context, updates []Update) ([]Updated, error)

	// Delete deletes a user and returns the version of the deletion, one more than
	// the user's last. It returns ErrNotFound, and ErrVersionMismatch when
	// expectedVersion is not 0 and the user is not at it. The email is free again;
	// the id is not.
	Delete(ctx context.Context, id string, expectedVersion int64) (int64, error)

	// RecordLogin sets the last login of a user, or returns ErrNotFound. It changes
	// nothing and returns the user as it is when at is before the recorded login or
	// less than resolution after it. A recorded login that lies in the future by the
	// database's clock was told by a clock that was ahead: one that is as much before
	// it replaces it.
	RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (User, error)

	// Head returns the cursor after the last committed change.
	Head(ctx context.Context) (Cursor, error)

	// Changes returns committed changes after a cursor, at most limit, and the
	// cursor after the last of them. The changes of one user are in the order of
	// their versions. No changes and the cursor of a later call mean that there
	// were none. Changes returns ErrCursorExpired when changes after the cursor are
	// no longer kept, and ErrInvalidCursor for one that this store did not make.
	Changes(ctx context.Context, after Cursor, limit int) ([]Change, Cursor, error)

	// At returns a cursor after which are all changes made at t or later, and
	// perhaps some made before; never an expired one.
	At(ctx context.Context, t time.Time) (Cursor, error)

	// Covers reports whether all changes up to the cursor other are also changes up
	// to cursor. It compares cursors that this store made and needs no database; it
	// returns false for any others. Head never goes back: of two calls, one
	// after the other, the later one's cursor covers the earlier one's.
	Covers(cursor, other Cursor) bool

	// Wait returns when there may be changes after the cursor, or with the
	// context's error. It may return early, never late: a change that this process
	// commits ends it at once, one of another process within about 100 ms.
	Wait(ctx context.Context, after Cursor) error

	// Span returns the times between which the changes in the log were made, and the
	// time now by the database's clock.
	Span(ctx context.Context) (Span, error)

	// Prune removes changes older than before from the change log, in small steps,
	// and returns how many. Pruner says what before should be.
	Prune(ctx context.Context, before time.Time) (int64, error)

	// Capacity returns how many calls the store can do at a time. More wait in it. Only
	// its Rows change.
	Capacity() Capacity

	// Identity returns the names of the store. They never change while it is open.
	Identity() Identity

	// Ping returns nil when the store can answer. It is [Vital] whatever its context.
	Ping(ctx context.Context) error

	// Close waits for the calls under way and closes the store.
	Close() error
}

// Apply returns u as update leaves it, and whether that changes anything. It
// does not touch version and times. It returns ErrVersionMismatch and
// ErrTooManyRoles as [Store.Update] does, and an [InvalidUserError] where u is not a
// user that could be stored and update does not mend that.
func (u User) Apply(update Update) (User, bool, error) {
	if update.ExpectedVersion != 0 && update.ExpectedVersion != u.Version {
		return User{}, false, ErrVersionMismatch
	}
	next := u
	if update.DisplayName != nil {
		next.DisplayName = *update.DisplayName
	}
	if len(update.AddRoles) > 0 || len(update.RemoveRoles) > 0 {
		roles := slices.DeleteFunc(slices.Clone(u.Roles), func(role string) bool {
			return slices.Contains(update.RemoveRoles, role)
		})
		next.Roles = SortedRoles(append(roles, update.AddRoles...))
	}
	if len(next.Roles) > MaxRoles {
		return User{}, false, ErrTooManyRoles
	}
	if err := next.Check(); err != nil {
		return User{}, false, err
	}
	changed := next.DisplayName != u.DisplayName || !slices.Equal(next.Roles, u.Roles)
	return next, changed, nil
}

// LoginDue reports whether a login at this time is to be recorded, by the rule
// of [Store.RecordLogin], when it is now by the database's clock.
func (u User) LoginDue(at, now time.Time, resolution time.Duration) bool {
	since := at.Sub(u.LastLogin)
	if u.LastLogin.After(now) {
		since = since.Abs()
	}
	return u.LastLogin.IsZero() || since > 0 && since >= resolution
}

// SortedRoles returns roles as a User has them: sorted, without duplicates, nil
// for none.
func SortedRoles(roles []string) []string {
	if len(roles) == 0 {
		return nil
	}
	roles = slices.Clone(roles)
	slices.Sort(roles)
	return slices.Compact(roles)
}
