package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"strconv"
	"time"
)

// DeletedUser is what is kept of a deleted user: its id is not used again.
type DeletedUser struct {
	ID        string
	Version   int64 // Of the deletion.
	DeletedAt time.Time
}

// Contents says what is in a store.
type Contents struct {
	Users       int64
	Deleted     int64    // Users that have been deleted.
	Last        Position // Of the last user.
	LastDeleted string   // The highest id of a deleted user.
}

// Load is a part of a copy of a store.
type Load struct {
	CopyOf  string // Incarnation of the store that is copied.
	Users   []User
	Deleted []DeletedUser
	Last    bool // The copy ends with this part.
}

// Copyable is a Store that can be copied and be the copy of another, with versions
// and times. Both engines are.
type Copyable interface {
	Store

	// Contents says what is in the store.
	Contents(ctx context.Context) (Contents, error)

	// ListDeleted returns deleted users in the order of their ids, from the first
	// after an id, at most limit.
	ListDeleted(ctx context.Context, after string, limit int) ([]DeletedUser, error)

	// Load stores users and deleted users as they are, all or none, and writes
	// nothing to the change log. It returns ErrNotEmpty when there are users or
	// deleted ones in the store and it does not go on with the copy that put them
	// there.
	Load(ctx context.Context, load Load) error

	// Unfinished reports whether a copy into the store has begun and not ended: users
	// are missing.
	Unfinished(ctx context.Context) (bool, error)
}

// loadSize is the number of users in a part of a copy.
const loadSize = 5000

// Copy fills a store with what is in another: users with their ids, versions and
// times, and the ids of deleted ones. A copy that was interrupted goes on where it
// stopped when it is started again. In the end Copy reads both stores and compares
// them. It calls progress now and then with the number of rows that are in the
// target and of those that shall be.
//
// Nothing else may write to the two stores meanwhile. Copy returns ErrNotEmpty when
// the target has anything that does not come from a copy of this source, and an
// [InvalidUserError] at the first user that could not have been stored.
func Copy(ctx context.Context, from, to Copyable, progress func(done, total int64)) error {
	source, err := from.Contents(ctx)
	if err != nil {
		return fmt.Errorf("copy: source: %w", err)
	}
	c := &copying{from: from, to: to, total: source.Users + source.Deleted, progress: progress}
	for _, step := range []func(context.Context) error{c.begin, c.deleted, c.users, c.compare, c.end} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
	}
	return nil
}

type copying struct {
	from, to    Copyable
	total       int64
	progress    func(done, total int64)
	done        int64
	last        Position
	lastDeleted string
}

// begin finds out how far the copy is.
func (c *copying) begin(ctx context.Context) error {
	if err := c.load(ctx, Load{}); err != nil {
		return err
	}
	target, err := c.to.Contents(ctx)
	if err != nil {
		return err
	}
	c.last, c.lastDeleted = target.Last, target.LastDeleted
	c.advance(int(target.Users + target.Deleted))
	return nil
}

func (c *copying) advance(rows int) {
	c.done += int64(rows)
	c.progress(c.done, c.total)
}

func (c *copying) load(ctx context.Context, part Load) error {
	part.CopyOf = c.from.Identity().Incarnation
	return c.to.Load(ctx, part)
}

func (c *copying) deleted(ctx context.Context) error {
	for {
		deleted, err := c.from.ListDeleted(ctx, c.lastDeleted, loadSize)
		if err != nil || len(deleted) == 0 {
			return err
		}
		if err := c.load(ctx, Load{Deleted: deleted}); err != nil {
			return err
		}
		c.lastDeleted = deleted[len(deleted)-1].ID
		c.advance(len(deleted))
	}
}

func (c *copying) users(ctx context.Context) error {
	for {
		page, err := c.from.List(ctx, Query{After: c.last, Limit: loadSize})
		users := page.Users
		if err != nil || len(users) == 0 {
			return err
		}
		for i := range users {
			if err := users[i].Check(); err != nil {
				return fmt.Errorf("source: %w; correct the row and start again", err)
			}
		}
		if err := c.load(ctx, Load{Users: users}); err != nil {
			return err
		}
		c.last = users[len(users)-1].Position()
		c.advance(len(users))
	}
}

func (c *copying) end(ctx context.Context) error { return c.load(ctx, Load{Last: true}) }

// compare reads both stores from the start to the end.
func (c *copying) compare(ctx context.Context) error {
	from, err := digest(ctx, c.from)
	if err != nil {
		return err
	}
	to, err := digest(ctx, c.to)
	if err != nil {
		return err
	}
	if from != to {
		return fmt.Errorf("the copy is not like the source: %v, the source has %v; was it written to meanwhile? Copy again while nothing writes to either, to an empty database if that finds a difference too", to, from)
	}
	return nil
}

// Digest sums up what is in a store. Two stores with the same digest have the same
// users, with versions and times, and the same deleted ids.
type Digest struct {
	Users   int64
	Deleted int64
	Sum     [sha256.Size]byte
}

func (d Digest) String() string {
	return fmt.Sprintf("%d users, %d deleted, SHA-256 %x", d.Users, d.Deleted, d.Sum[:8])
}

func digest(ctx context.Context, s Copyable) (Digest, error) {
	d, sum := Digest{}, summer{hash: sha256.New()}
	err := eachDeleted(ctx, s, func(user DeletedUser) {
		sum.deleted(user)
		d.Deleted++
	})
	if err != nil {
		return Digest{}, err
	}
	err = eachUser(ctx, s, func(user User) {
		sum.user(user)
		d.Users++
	})
	sum.hash.Sum(d.Sum[:0])
	return d, err
}

func eachDeleted(ctx context.Context, s Copyable, do func(DeletedUser)) error {
	after := ""
	for {
		deleted, err := s.ListDeleted(ctx, after, loadSize)
		if err != nil || len(deleted) == 0 {
			return err
		}
		for _, user := range deleted {
			do(user)
			after = user.ID
		}
	}
}

func eachUser(ctx context.Context, s Copyable, do func(User)) error {
	var after Position
	for {
		page, err := s.List(ctx, Query{After: after, Limit: loadSize})
		if err != nil || len(page.Users) == 0 {
			return err
		}
		for _, user := range page.Users {
			do(user)
			after = user.Position()
		}
	}
}

// summer adds rows to a hash, each field so that it cannot run into the next.
type summer struct {
	hash hash.Hash
	row  []byte
}

func (s *summer) deleted(user DeletedUser) {
	s.row = s.row[:0]
	s.text(user.ID)
	s.number(user.Version)
	s.number(user.DeletedAt.UnixMicro())
	s.hash.Write(s.row)
}

func (s *summer) user(user User) {
	s.row = s.row[:0]
	s.text(user.ID)
	s.text(user.Email)
	s.text(user.DisplayName)
	s.number(int64(len(user.Roles)))
	for _, role := range user.Roles {
		s.text(role)
	}
	for _, t := range []time.Time{user.CreatedAt, user.UpdatedAt, user.LastLogin} {
		s.number(t.UnixMicro())
	}
	s.number(user.Version)
	s.text(strconv.FormatBool(user.Disabled))
	s.text(user.ExternalID)
	s.number(int64(len(user.Attributes)))
	for _, attribute := range user.Attributes {
		s.text(attribute.Name)
		s.text(attribute.Value)
	}
	s.hash.Write(s.row)
}

func (s *summer) text(text string) {
	s.number(int64(len(text)))
	s.row = append(s.row, text...)
}

func (s *summer) number(n int64) { s.row = binary.BigEndian.AppendUint64(s.row, uint64(n)) }
