package cache

import (
	"context"

	"github.com/example/userd/store"
)

// backend keeps slots. The protocol in this package knows nothing else of Redis
// or of memory; both backends pass the same tests.
type backend interface {
	// near returns what this server holds of the key, nil for nothing, and since
	// when it is known to be complete: it has every change committed before that
	// time of the cache's clock. 0 means that nothing is to be trusted. It does not
	// block.
	near(k key) (*held, int64)

	// ready reports whether the other methods may be called at all.
	ready() bool

	// read returns the slots of the keys from the shared tier, and puts values and
	// tombstones into the near cache. A value that it cannot vouch for is elsewhere.
	read(ctx context.Context, keys []key) ([]reading, error)

	// await is read, but where a key holds a lease it waits until that has changed,
	// for busyWait at most.
	await(ctx context.Context, keys []key) ([]reading, error)

	// acquire puts a lease into each slot that is empty, corrupt, or still as raw
	// says, and reports for which keys it did: none where the watermark is missing.
	acquire(ctx context.Context, claims []claim) ([]bool, error)

	// fill replaces each lease that is still exactly ours by a value or tombstone,
	// and returns how many were lost.
	fill(ctx context.Context, fills []fill) (int, error)

	// apply makes writes known: an empty slot stays empty, a lease is deleted, an
	// older value or tombstone is replaced, or deleted where the change has no slot,
	// and a slot by email is always deleted. When it returns nil, the near cache of
	// this server has forgotten what was there before.
	apply(ctx context.Context, changes []change) error

	// mayHold reports whether there may be a slot of the key. What is applied to none
	// has no effect.
	mayHold(k key) bool

	// marks returns the watermark of each bucket, "" where it is missing.
	marks(ctx context.Context) ([]store.Cursor, error)

	// begin sets the missing watermark of a bucket: to head where there are no data
	// at all, else to old.
	begin(ctx context.Context, bucket int, head, old store.Cursor) error

	// relay applies the changes and moves the watermark of a bucket in one step,
	// where it still is at from.
	relay(ctx context.Context, m move) error

	// batch is the most changes that relay takes.
	batch() int

	// bucket says whose watermark vouches for the key.
	bucket(k key) int

	// beat reads the watermarks in the order in which the near cache hears of
	// changes, and derives from them since when it is complete. It finds a Redis
	// that was away.
	beat(ctx context.Context) error

	// fresh returns since when the data of every bucket are complete, 0 where
	// nothing is to be trusted.
	fresh() int64

	// holds returns what the near cache holds.
	holds() sieveStats

	close()
}

// reading is a slot that was read, and since when the data were known to be
// complete before that.
type reading struct {
	*held
	fresh int64
}

// claim asks for the lease of a key.
type claim struct {
	key   key
	token string // Of one flight, never used again.
	raw   string // A raw form that counts as empty, "" for none.
}

// fill is what a lease is to be replaced by.
type fill struct {
	key   key
	token string
	slot  slot
}

// change is a committed version of a key. Slot is its raw form, "" where only the
// version is known.
type change struct {
	key     key
	version int64
	raw     string
	owner   string // Of a name: the id of the user who has it now.
}

// move takes the watermark of a bucket over some changes.
type move struct {
	bucket   int
	from, to store.Cursor
	changes  []change
}

// outdates reports what apply does with a slot: whether it goes or is replaced.
func (c change) outdates(s slot) bool {
	return s.kind == lease || s.kind == corrupt || c.key.space != byID || s.version < c.version
}
