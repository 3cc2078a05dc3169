package admission

import (
	"time"

	"github.com/example/userd/store"
)

// Class is a kind of calls that compete with each other, and have a share that others
// cannot take from them.
type Class int

// The classes.
const (
	Lookup  Class = iota // Of users by id or email.
	Write                // Of one user.
	List                 // Pages of all users, in order.
	Search               // Of users with filters, which may have to look at all.
	Bulk                 // Imports, and groups of updates.
	CatchUp              // Pages of the change log, and the users in them.
	classes
)

var names = [classes]string{"lookup", "write", "list", "search", "bulk", "catch_up"}

func (c Class) String() string { return names[c] }

// hasShortCalls reports whether calls of a class are short, unless others hold the locks that
// they need.
func (c Class) hasShortCalls() bool { return c == Lookup || c == Write }

// limits are what a class may have.
type limits struct {
	first   int  // Calls at once up to which it comes before others.
	most    int  // Calls at once.
	beside  int  // Calls at once while there are lookups or writes, where that is fewer.
	places  int  // Streams at a time that calls come from.
	room    int  // Calls that wait, at most.
	patient bool // Whether they wait as long as their callers do: those take what they get.
}

// Calls that wait, at most. At thousands of calls a second these are tens of milliseconds.
const (
	waitingCalls    = 256
	waitingSearches = 32
	waitingBulk     = 16 // Each holds rows: up to some 3 MB.
	waitingStreams  = 4096
)

// bulkStreams is the most streams of writes at a time that are under way or wait.
const bulkStreams = 32

// calm is how long no lookup and no write has come when there are none.
const calm = 20 * time.Millisecond

// target is how long a call may wait where calls come faster than they are served, and
// patience in any case, or twice as long as calls take where that is longer.
const target, patience = 5 * time.Millisecond, time.Second

// hurry is how long a wait is for which a call is too late only because its caller wants the
// answer sooner than others.
const hurry = 100 * time.Millisecond

// excessWeight says which part of the calls that begin may be refused, an eighth, before those
// that come are more than a passing few too many.
const excessWeight = 8

// trial is how long a queue is kept short before it may be long again. Its callers may be as
// many as there is room for, and refused so often only because they ask again too soon.
const trial = 5 * time.Second

// mostAtOnce is about how many calls end at once, of one transaction. Where nothing has ended
// for so many times as long as usual, the store has halted.
const mostAtOnce = 64

// smallGroup is the number of updates up to which a group counts as a write where all
// writes share a transaction.
const smallGroup = 16

// sixteenths of n, at least 1.
func sixteenths(k, n int) int { return max(k*n/16, 1) }

// sharesOf divides what a store can do. Where writes need a connection each, all classes
// share those. Lookups and writes are short, unless others hold the locks that they need,
// so each may have most of the connections; searches and bulk writes keep the database busy
// for long, so they are few, and even fewer beside others: two at once are somewhat faster
// than one, and take twice as much from everybody else.
func sharesOf(c store.Capacity) []*share {
	n := c.Reads
	reads := map[Class]limits{
		Lookup:  {first: max(n/4, 1), most: sixteenths(12, n), room: waitingCalls},
		List:    {first: 1, most: sixteenths(2, n), room: waitingStreams, patient: true},
		Search:  {first: 1, most: sixteenths(2, n), beside: sixteenths(1, n), room: waitingSearches},
		CatchUp: {first: 1, most: sixteenths(1, n), room: waitingStreams, patient: true},
	}
	if c.Writes > 0 {
		writes := map[Class]limits{
			Write: {first: c.Writes, most: c.Writes, room: waitingCalls},
			Bulk:  {first: 1, most: 1, places: bulkStreams, room: waitingBulk, patient: true},
		}
		return []*share{newShare(n, reads), newShare(c.Writes+1, writes)}
	}
	reads[Write] = limits{first: max(n/4, 1), most: sixteenths(12, n), room: waitingCalls}
	reads[Bulk] = limits{first: 1, most: sixteenths(2, n), beside: 1, places: bulkStreams, room: waitingBulk, patient: true}
	return []*share{newShare(n, reads)}
}
