package cachetest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a server under load: a cache in a process, or behind RPCs.
type Server interface {
	// Read returns what the server says of the users, in the order of the ids.
	// MinVersion is 0 where there are several.
	Read(ctx context.Context, ids []string, minVersion int64, noCache bool) ([]Shown, error)

	// ReadByEmail returns what the server says of the user with an email.
	ReadByEmail(ctx context.Context, email string) (Shown, error)

	// Search returns what the server says of a user when it is asked for all users with a
	// part of a name, in whatever case.
	Search(ctx context.Context, id, name string) (Shown, error)

	// Create, Update and Delete return the version that they made.
	Create(ctx context.Context, id string) (int64, error)
	Update(ctx context.Context, id, name string) (int64, error)
	Delete(ctx context.Context, id string) (int64, error)
}

// Shown is what a server says of a user.
type Shown struct {
	Version int64 // 0 for no such user, or that of its deletion.
	Found   bool
	Name    string
}

// Load is what the clients of one server do: the shares that it names, and for the
// rest reads of one user through the cache.
type Load struct {
	Server  uint16
	Clients int
	Users   int           // Common users, numbered from 0. Nobody changes the last.
	Pace    time.Duration // Between two things that a client does.

	Updates  float64
	NoCache  float64
	Fleeting float64 // A user that is created, changed and deleted, and read and searched meanwhile.
	Many     float64 // Reads of several users at once.
	ByEmail  float64
	ByName   float64 // Searches for the name that a user had when the client last saw it.
}

// DefaultLoad reads much, and changes enough.
var DefaultLoad = Load{
	Clients: 8, Users: 200, Pace: 2 * time.Millisecond,
	Updates: 0.01, NoCache: 0.02, Fleeting: 0.002, Many: 0.02, ByEmail: 0.02, ByName: 0.02,
}

const (
	shareMinimum = 0.05 // Reads that ask for the version that the client has seen.
	many         = 20   // Users in a read of many.

	// control is the client of a server that reads a user whom there never is, without
	// the cache, all the time. What holds it up is no fault of the cache.
	control      = math.MaxUint16
	controlPause = 10 * time.Millisecond
	nobody       = math.MaxUint32
)

// UserID is the id of the user with a number.
func UserID(number uint32) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", number) }

// founders is how many users are older than all others: more than a search walks past before it
// looks into an index.
const founders = 600

// Founders are the ids of users who are made before all others, and are left alone.
func Founders() []string {
	ids := make([]string, founders)
	for i := range ids {
		ids[i] = UserID(nobody - 1 - uint32(i))
	}
	return ids
}

// Email is the address of the user with an id.
func Email(id string) string { return id + "@example.com" }

// Name is the first name of the user with an id.
func Name(id string) string { return "Ann " + id }

// UserNumber is the number of the user with an id.
func UserNumber(id string) uint32 {
	n, _ := strconv.ParseUint(id[max(0, len(id)-12):], 10, 32)
	return uint32(n)
}

// Run lets the clients of a server act until the context ends, and records what
// they see.
func (l Load) Run(ctx context.Context, s Server, record func(Op)) {
	var clients sync.WaitGroup
	var fleeting atomic.Uint32
	for i := range l.Clients {
		c := client{Load: l, server: s, record: record, number: uint16(i), fleeting: &fleeting, seen: make(map[uint32]Shown)}
		clients.Go(func() { every(ctx, l.Pace, c.act) })
	}
	c := client{Load: l, server: s, record: record, number: control}
	clients.Go(func() { every(ctx, controlPause, func() { c.read(nobody, 0, true) }) })
	clients.Wait()
}

// every calls f again and again with a pause between.
func every(ctx context.Context, pause time.Duration, f func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// client is one of the clients of a server.
type client struct {
	Load
	server   Server
	record   func(Op)
	number   uint16
	fleeting *atomic.Uint32   // Users made so far, by all clients of the server.
	seen     map[uint32]Shown // The common users as they were last seen.
}

// user is one of the common users, some much more often than others.
func (c *client) user() uint32 {
	return uint32(rand.ExpFloat64()*float64(c.Users)/4) % uint32(c.Users)
}

// act does one thing, or a few with a fleeting user.
func (c *client) act() {
	user := c.user()
	dice := rand.Float64()
	falls := func(share float64) bool {
		dice -= share
		return dice < 0
	}
	switch {
	case falls(c.NoCache):
		c.read(user, 0, true)
	case falls(c.Updates):
		user %= uint32(c.Users - 1)
		c.see(user, c.update(user))
	case falls(c.Fleeting):
		c.fleet()
	case falls(c.Many):
		c.readMany(user)
	case falls(c.ByEmail):
		c.readByEmail(user)
	case falls(c.ByName):
		c.search(user, c.seen[user])
	case falls(shareMinimum):
		c.see(user, c.read(user, c.seen[user].Version, false))
	default:
		c.see(user, c.read(user, 0, false))
	}
}

// see keeps how a user was seen.
func (c *client) see(user uint32, shown Shown) {
	if shown.Version > c.seen[user].Version {
		c.seen[user] = shown
	}
}

func (c *client) read(user uint32, minVersion int64, noCache bool) Shown {
	op := Op{Client: c.number, User: user, MinVersion: int32(minVersion), Start: Now()}
	if noCache {
		op.Kind = NoCache
	}
	shown, err := c.server.Read(context.Background(), []string{UserID(user)}, minVersion, noCache)
	op.End, op.Failed = Now(), err != nil
	if err != nil {
		shown = []Shown{{}}
	}
	op.Version, op.Found = shown[0].Version, shown[0].Found
	c.record(op)
	return shown[0]
}

func (c *client) readByEmail(user uint32) {
	op := Op{Client: c.number, User: user, Start: Now()}
	shown, err := c.server.ReadByEmail(context.Background(), Email(UserID(user)))
	op.End, op.Version, op.Found, op.Failed = Now(), shown.Version, shown.Found, err != nil
	c.record(op)
}

// search looks for the name that a user had when it was seen.
func (c *client) search(user uint32, seen Shown) {
	if !seen.Found {
		return
	}
	op := Op{Client: c.number, Kind: ByName, User: user, MinVersion: int32(seen.Version), Start: Now()}
	shown, err := c.server.Search(context.Background(), UserID(user), seen.Name)
	op.End, op.Version, op.Found, op.Failed = Now(), shown.Version, shown.Found, err != nil
	c.record(op)
}

// readMany reads a user and those that follow, in one call: as many operations.
func (c *client) readMany(user uint32) {
	ids := make([]string, min(many, c.Users))
	for i := range ids {
		ids[i] = UserID((user + uint32(i)) % uint32(c.Users))
	}
	start := Now()
	shown, err := c.server.Read(context.Background(), ids, 0, false)
	end := Now()
	for i, id := range ids {
		op := Op{Client: c.number, User: UserNumber(id), Start: start, End: end, Failed: err != nil}
		if err == nil {
			op.Version, op.Found = shown[i].Version, shown[i].Found
		}
		c.record(op)
	}
}

// write returns the version that it made, 0 where it failed. It is recorded when it begins as
// well: who dies before its end may have changed the user.
func (c *client) write(kind Kind, user uint32, do func() (int64, error)) int64 {
	op := Op{Client: c.number, User: user, Kind: kind, Start: Now()}
	c.record(op)
	version, err := do()
	op.End, op.Version, op.Failed = Now(), version, err != nil
	c.record(op)
	return version
}

// update gives a user a name that no other has, and returns how it is then.
func (c *client) update(user uint32) Shown {
	name := fmt.Sprintf("Ann %d", Now())
	version := c.write(Update, user, func() (int64, error) {
		return c.server.Update(context.Background(), UserID(user), name)
	})
	return Shown{Version: version, Found: version > 0, Name: name}
}

// fleet reads a user that there is not yet, creates it, changes it and deletes it,
// with reads and searches between.
func (c *client) fleet() {
	user := uint32(c.Server)*1_000_000 + c.fleeting.Add(1)
	id := UserID(user)
	c.read(user, 0, false)
	version := c.write(Create, user, func() (int64, error) { return c.server.Create(context.Background(), id) })
	first := Shown{Version: version, Found: version > 0, Name: Name(id)}
	c.readByEmail(user)
	c.search(user, first)
	second := c.update(user)
	c.search(user, first)
	c.search(user, second)
	c.read(user, 0, false)
	c.write(Delete, user, func() (int64, error) { return c.server.Delete(context.Background(), id) })
	c.read(user, 0, false)
	c.readByEmail(user)
	c.search(user, second)
}
