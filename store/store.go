package store

import (
	"context"
	"math"
	"slices"
	"strings"
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
	Disabled    bool        // The user exists, but may not be used.
	ExternalID  string      // Id of the user elsewhere, unique byte by byte; "" for none.
	Attributes  []Attribute // Sorted by name, each name once; nil for none.
}

// Attribute is something that an application keeps with a user.
type Attribute struct{ Name, Value string }

// What a user can have at most.
const (
	MaxRoles          = 32
	MaxAttributes     = 32
	MaxAttributeBytes = 8 << 10 // Of all names and values of a user.
)

// NewUser is a user to create. Its fields are valid: the engines check only what
// concerns other rows.
type NewUser struct {
	ID          string // UUID in lower case.
	Email       string
	DisplayName string
	Roles       []string // In any order, without duplicates.
	Disabled    bool
	ExternalID  string      // "" for none.
	Attributes  []Attribute // In any order, each name once.
	CreatedAt   time.Time   // Zero: now. Else in the past.
	LastLogin   time.Time   // Zero: never.

	OnConflict OnConflict // In an import. Create takes none but FailOnConflict.
	NewID      bool       // ID was made for this row, and says nothing of who is meant.
}

// OnConflict is what a row of an import does to a user who is there already: the one with
// the row's id, else the one with its external id, else the one with its email.
type OnConflict int8

// What a row can do.
const (
	FailOnConflict   OnConflict = iota // What Create does.
	SkipOnConflict                     // Nothing.
	UpdateOnConflict                   // It replaces all but id, times, and an external id where the row has none.
)

// At is the user as it is when it has been created at a time.
func (u NewUser) At(now time.Time) User {
	created := User{
		ID: u.ID, Email: u.Email, DisplayName: u.DisplayName, Roles: SortedRoles(u.Roles),
		CreatedAt: now, UpdatedAt: now, LastLogin: u.LastLogin, Version: 1,
		Disabled: u.Disabled, ExternalID: u.ExternalID, Attributes: SortedAttributes(u.Attributes),
	}
	if !u.CreatedAt.IsZero() {
		created.CreatedAt = u.CreatedAt
	}
	return created
}

// Created is what became of one row of an import.
type Created struct {
	ID       string // Of the user, where Err is nil.
	Err      error  // Why the row was not stored: what Create or Update return.
	Version  int64  // Of the user, after the row.
	Changed  bool   // The row has made the user, or changed it: before it, the version was one less.
	Existing bool   // The row was about a user who was there, who is left alone or updated.
}

// Update is a change to one user.
type Update struct {
	ID               string
	Email            *string     // Nil leaves it as it is, as in the other fields.
	DisplayName      *string     //
	Disabled         *bool       //
	ExternalID       *string     // "" removes it.
	AddRoles         []string    // A role that is there already changes nothing.
	RemoveRoles      []string    // A role that is not there changes nothing.
	SetAttributes    []Attribute // In any order, each name once.
	RemoveAttributes []string    // An attribute that is not there changes nothing.
	ExpectedVersion  int64       // 0 takes any version.
}

// Written is a user as a write leaves it.
type Written struct {
	User
	// Changed says whether the write has changed anything. The user's version is then one
	// more than before.
	Changed bool
}

// Updated is what became of one of several updates.
type Updated struct {
	Written       // Where Err is nil.
	Err     error // What Update returns where the update cannot be applied.
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
	After         Position
	NewestFirst   bool        // The order is that of positions, or the reverse.
	Limit         int         // Most users to return; at least 1.
	EmailPrefix   string      // Start of the email, without regard to ASCII case.
	NameContains  string      // Part of the display name, without regard to case.
	Role          string      // A role that the user has.
	Disabled      *bool       // Whether the user is.
	Attributes    []Attribute // The user has each, with this value.
	InactiveSince time.Time   // The last login was before, or there was none and the user was created before.
	CreatedAfter  time.Time   // The user was created then or later.
	CreatedBefore time.Time   // The user was created before.
}

// Filters reports whether the query leaves out users for another reason than their
// positions.
func (q Query) Filters() bool {
	return q.EmailPrefix != "" || q.NameContains != "" || q.Role != "" || q.Disabled != nil ||
		len(q.Attributes) > 0 || !q.InactiveSince.IsZero()
}

// Page is what a query has found.
type Page struct {
	Users []User
	Next  Position // After which to go on; the zero Position where there is nothing more.
}

// PageOf is the page of all users that were found, where no more than limit were looked
// for.
func PageOf(users []User, limit int) Page {
	page := Page{Users: users}
	if len(users) == limit {
		page.Next = users[limit-1].Position()
	}
	return page
}

// Listing is a query that an engine answers in several looks at its users.
type Listing struct {
	Query // From where it is now.
	Page  Page
}

// Room is how many users the page has room for.
func (l *Listing) Room() int { return l.Limit - len(l.Page.Users) }

// Take adds users to the page, who are all that match up to end, and reports whether the
// page has ended. No end is that of all users.
func (l *Listing) Take(users []User, end *Position) bool {
	l.Page.Users = append(l.Page.Users, users...)
	if found := PageOf(l.Page.Users, l.Limit); end == nil || found.Next != (Position{}) {
		l.Page = found
		return true
	}
	l.Page.Next, l.After = *end, *end
	return false
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
	// Create stores a new user at version 1 and returns it. It returns ErrIDTaken
	// when another user has or had the id, else ErrEmailTaken when another user has
	// the email, without regard to ASCII case, else ErrExternalIDTaken when another
	// user has the external id. When the user with this id has this email already,
	// Create changes nothing and returns that user.
	Create(ctx context.Context, user NewUser) (Written, error)

	// Import creates users in one transaction, each by the rules of Create, and
	// says for each, in order, what became of it. A row that cannot be stored does
	// not hinder the others. Of two rows with one email, id or external id the first
	// wins. Where a user is there whom the row's OnConflict is about, that is done to
	// it: one that is skipped, or is as the row says already, gets no new version and
	// no change in the log. A user keeps its id: a row that brings another one is not
	// stored over it. The times of creation of rows that bring none are in the order of the
	// rows. When Import returns an error, no row of the call is stored.
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

	// GetByExternalID returns a user by external id, or ErrNotFound.
	GetByExternalID(ctx context.Context, externalID string) (User, error)

	// List returns the users that match every filter of the query, in its order, from
	// the first after query.After, at most query.Limit. It costs no more than a bounded
	// amount, however many users there are: where filters leave out very many, it returns
	// fewer users than the limit, or none, and where to go on.
	List(ctx context.Context, query Query) (Page, error)

	// Update changes a user and returns it as it is then. It returns ErrNotFound,
	// ErrVersionMismatch when the user is not at the expected version,
	// ErrTooManyRoles and ErrTooManyAttributes when the user would have more than it
	// can, and ErrEmailTaken and ErrExternalIDTaken as Create does. What a user had
	// before an update others can have after it. An update that changes nothing
	// returns the user as it is: no new version, no change in the log.
	Update(ctx context.Context, update Update) (Written, error)

	// UpdateMany applies updates in order in one transaction, each by the rules of
	// Update, and says for each what became of it. One that cannot be applied does
	// not hinder the others. When UpdateMany returns an error, none is applied.
	UpdateMany(ctx context.Context, updates []Update) ([]Updated, error)

	// Delete deletes a user and returns the version of the deletion, one more than
	// the user's last. It returns ErrNotFound, and ErrVersionMismatch when
	// expectedVersion is not 0 and the user is not at it. The email is free again;
	// the id is not.
	Delete(ctx context.Context, id string, expectedVersion int64) (int64, error)

	// RecordLogin sets the last login of a user. It returns ErrNotFound, and
	// ErrUserDisabled when the user is disabled. It changes nothing and returns the user
	// as it is when at is before the recorded login or less than resolution after it. A
	// recorded login that lies in the future by the database's clock was told by a clock
	// that was ahead: one that is as much before it replaces it.
	RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (Written, error)

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
// does not touch version and times, and does not know other users. It returns
// ErrVersionMismatch, ErrTooManyRoles and ErrTooManyAttributes as [Store.Update] does,
// and an [InvalidUserError] where u is not a user that could be stored and update does
// not mend that, or has no next version.
func (u User) Apply(update Update) (User, bool, error) {
	if update.ExpectedVersion != 0 && update.ExpectedVersion != u.Version {
		return User{}, false, ErrVersionMismatch
	}
	next := u
	next.Email = either(update.Email, u.Email)
	next.DisplayName = either(update.DisplayName, u.DisplayName)
	next.Disabled = either(update.Disabled, u.Disabled)
	next.ExternalID = either(update.ExternalID, u.ExternalID)
	next.Roles = rolesAfter(u.Roles, update)
	next.Attributes = attributesAfter(u.Attributes, update)
	if len(next.Roles) > MaxRoles {
		return User{}, false, ErrTooManyRoles
	}
	if len(next.Attributes) > MaxAttributes || AttributeBytes(next.Attributes) > MaxAttributeBytes {
		return User{}, false, ErrTooManyAttributes
	}
	return u.changedTo(next)
}

// Replace returns u as a row of an import leaves it that updates users, and whether that
// changes anything, like [User.Apply].
func (u User) Replace(row NewUser) (User, bool, error) {
	next := u
	next.Email, next.DisplayName, next.Disabled = row.Email, row.DisplayName, row.Disabled
	next.Roles, next.Attributes = SortedRoles(row.Roles), SortedAttributes(row.Attributes)
	if row.ExternalID != "" {
		next.ExternalID = row.ExternalID
	}
	return u.changedTo(next)
}

// changedTo returns next and whether it differs from u, or why u cannot become it.
func (u User) changedTo(next User) (User, bool, error) {
	if err := next.Check(); err != nil {
		return User{}, false, err
	}
	if next.Equal(u) {
		return next, false, nil
	}
	_, err := u.NextVersion()
	return next, true, err
}

// NextVersion is the version after the next change, or an [InvalidUserError] where there is
// none after the user's, which no changes could have come to.
func (u User) NextVersion() (int64, error) {
	if u.Version == math.MaxInt64 {
		return 0, &InvalidUserError{ID: u.ID, Field: "version"}
	}
	return u.Version + 1, nil
}

func either[T any](given *T, before T) T {
	if given != nil {
		return *given
	}
	return before
}

func rolesAfter(roles []string, update Update) []string {
	if len(update.AddRoles) == 0 && len(update.RemoveRoles) == 0 {
		return roles
	}
	kept := slices.DeleteFunc(slices.Clone(roles), func(role string) bool {
		return slices.Contains(update.RemoveRoles, role)
	})
	return SortedRoles(append(kept, update.AddRoles...))
}

func attributesAfter(attributes []Attribute, update Update) []Attribute {
	if len(update.SetAttributes) == 0 && len(update.RemoveAttributes) == 0 {
		return attributes
	}
	kept := slices.DeleteFunc(slices.Clone(attributes), func(old Attribute) bool {
		return slices.Contains(update.RemoveAttributes, old.Name) ||
			slices.ContainsFunc(update.SetAttributes, func(set Attribute) bool { return set.Name == old.Name })
	})
	return SortedAttributes(append(kept, update.SetAttributes...))
}

// Equal reports whether u and other are alike in everything that an update or a login
// can change, but for version and time of the change.
func (u User) Equal(other User) bool {
	return u.Email == other.Email && u.DisplayName == other.DisplayName && u.Disabled == other.Disabled &&
		u.ExternalID == other.ExternalID && u.LastLogin.Equal(other.LastLogin) &&
		slices.Equal(u.Roles, other.Roles) && slices.Equal(u.Attributes, other.Attributes)
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

// SortedAttributes returns attributes as a User has them: sorted by name, nil for none.
func SortedAttributes(attributes []Attribute) []Attribute {
	if len(attributes) == 0 {
		return nil
	}
	attributes = slices.Clone(attributes)
	slices.SortFunc(attributes, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
	return attributes
}

// AttributeBytes is how long all names and values are together.
func AttributeBytes(attributes []Attribute) int {
	size := 0
	for _, attribute := range attributes {
		size += len(attribute.Name) + len(attribute.Value)
	}
	return size
}
