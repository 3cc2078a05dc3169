package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// shape is how many callers a load has: all streams in a closed loop. In an open one they
// are the most that may be under way.
type shape struct {
	connections, streams int
	deadline, ramp       time.Duration
	drop                 bool // In an open loop, calls beyond that are not made.
}

// times is the shape with more callers.
func (s shape) times(n int) shape {
	s.streams *= n
	return s
}

// crowd are callers who do not wait for each other: as many connections as they need,
// with as many calls on each as the server allows.
var crowd = shape{connections: 100, streams: 100, drop: true}

// dialer connects a load to the server of a row.
type dialer func(st *stage, s shape) (loader, error)

// class is a kind of calls that a server can get too many of.
type class struct {
	name    string
	callers shape // Of the closed loop that finds the peak.
	load    dialer
}

var classes = []class{
	{"write", shape{connections: 8, streams: 8}, creates},
	{"lookup", shape{connections: 8, streams: 8}, gets},
	{"search", shape{connections: 4, streams: 4}, searches(4)},
	{"bulk", shape{connections: 4, streams: 2}, imports(100)},
	{"watch", shape{connections: 4, streams: 4}, catchUps(5_000)},
}

// others are who else calls meanwhile.
var others = []struct {
	name, class string
	rate        float64
	load        dialer
}{
	{"hot", "", 1_000, hotGets},
	{"create", "write", 300, creates},
	{"get", "lookup", 300, gets},
}

var otherShape = shape{connections: 4, streams: 100}

// pressure is a row: what the server gets too much of.
type pressure struct {
	name  string
	load  dialer
	shape shape
	open  bool // Calls come from outside, else from all the callers of the shape.
	leave bool // The callers go when the overload is to end, without an answer.
}

// group is rows that have a server together.
type group struct {
	class   string // Whose goodput is compared with the peak; "" for none.
	load    dialer // Of the probe, which finds the peak, and whether the server has recovered.
	callers shape  // Of the probe.
	rows    []pressure
}

// excess is how many times the peak, or its callers, a class gets.
const excess = 3

// forms are the ways in which a class gets too much.
var forms = []struct {
	name     string
	open     bool
	deadline time.Duration
}{
	{"open, deadlines of 500 ms", true, overloadDeadline},
	{"closed, no deadlines", false, 0},
	{"closed, deadlines of 500 ms", false, overloadDeadline},
	{"open, no deadlines", true, 0},
}

// groups are all rows.
func (b *bench) groups() (all []group) {
	for _, c := range classes {
		g := group{class: c.name, load: c.load, callers: c.callers}
		for _, f := range forms[:b.forms] {
			p := pressure{name: c.name + ", " + f.name, load: c.load, shape: c.callers.times(excess), open: f.open}
			if f.open {
				p.shape = crowd
			}
			p.shape.deadline, p.shape.ramp = f.deadline, b.surge/4
			g.rows = append(g.rows, p)
		}
		all = append(all, g)
	}
	return append(all, group{load: creates, callers: shape{connections: 4, streams: 1}, rows: starvers})
}

// starvers are loads that take from everybody else.
var starvers = []pressure{
	{name: "16 import streams", load: imports(20_000), shape: shape{connections: 8, streams: 2}, leave: true},
	{name: "20 searches of everybody for a rare name", load: searches(0), shape: shape{connections: 4, streams: 5}, leave: true},
	{name: "200 watchers from the earliest change", load: catchUps(0), shape: shape{connections: 4, streams: 50}, leave: true},
	{name: "64 callers update one user", load: updatesOfOne, shape: shape{connections: 8, streams: 8}},
	{name: "64 callers, reads of the store within 2 ms", load: gets, shape: shape{connections: 8, streams: 8, deadline: 2 * time.Millisecond}},
}

// unary connects a load of unary calls.
func (st *stage) unary(op *load.Op, keys load.Keys, s shape, noCache bool) (loader, error) {
	return load.Dial(load.Target{
		Address: st.server.Address, Connections: s.connections, Streams: s.streams,
		Wire: load.Wire{Protocol: load.GRPC, Codec: load.Proto, NoCache: noCache, Deadline: s.deadline, Token: st.token},
		Read: op, Keys: keys, Drop: s.drop, Ramp: s.ramp,
	})
}

// streams connects a load of streaming calls.
func (st *stage) streams(s shape, call func(session *load.Session, n int) error) (loader, error) {
	l, err := load.DialStreams(st.server.Address, s.connections, s.streams, st.token, s.deadline)
	if err == nil {
		l.Call, l.Ramp = call, s.ramp
	}
	return l, err
}

func hotGets(st *stage, s shape) (loader, error) {
	const hot = 100
	return st.unary(load.GetUser(st.users, load.Proto), load.Uniform(hot), s, false)
}

func gets(st *stage, s shape) (loader, error) {
	return st.unary(load.GetUser(st.users, load.Proto), load.Uniform(st.users.Len()), s, true)
}

func updatesOfOne(st *stage, s shape) (loader, error) {
	return st.unary(load.UpdateUser(st.users), load.Uniform(1), s, false)
}

// creates creates users, and keeps a ledger of them.
func creates(st *stage, s shape) (loader, error) {
	st.ledger = &ledger{kind: st.bench.newKind(), created: make(map[int]bool)}
	return st.unary(load.CreateChosen(st.ledger.kind, st.ledger.answered), st.ledger, s, false)
}

// imports imports streams of so many rows.
func imports(count int) dialer {
	return func(st *stage, s shape) (loader, error) {
		count := min(count, st.users.Len())
		kind := st.bench.newKind()
		op := load.CreateChosen(kind, nil)
		return st.streams(s, func(session *load.Session, n int) error {
			chosen := rows{count: count}
			var message []byte
			for i := range count {
				message = op.Append(message[:0], n*count+i)
				chosen.messages = append(load.AppendPrefix(chosen.messages, len(message)), message...)
			}
			return importInto(session, chosen)
		})
	}
}

// searches looks for a user by name among those who have so many digits of the number in
// common, and lists a page of users in turn. With 0 digits it only searches.
func searches(digits int) dialer {
	return func(st *stage, s shape) (loader, error) {
		op := load.SearchUsers(st.users, digits)
		return st.streams(s, func(session *load.Session, n int) error {
			if digits > 0 && n%2 == 0 {
				return listPage(session)
			}
			return session.Unary(op, rand.IntN(st.users.Len()))
		})
	}
}

// listPage reads a page of users.
func listPage(session *load.Session) error {
	const size = 100
	request, err := proto.Marshal(&userv1.ListUsersRequest{PageSize: size})
	if err != nil {
		return err
	}
	var page tally
	if err := session.Call("ListUsers", request, page.take); err != nil {
		return err
	}
	if page.users != size {
		return fmt.Errorf("%d users in a page of %d", page.users, size)
	}
	return nil
}

// catchUps watches from the earliest change for so many events; 0 for as long as the
// caller is there.
func catchUps(count int) dialer {
	return func(st *stage, s shape) (loader, error) {
		request, err := framed(&userv1.WatchUsersRequest{Cursor: "earliest"})
		if err != nil {
			return nil, err
		}
		count := min(count, st.users.Len()/2)
		return st.streams(s, func(session *load.Session, _ int) error {
			seen := 0
			stream := session.Open("WatchUsers", func(message []byte) error {
				events, err := load.CountEvents(message)
				if seen += events; err == nil && count > 0 && seen >= count {
					err = errSeenAll
				}
				return err
			})
			stream.Send(request)
			stream.CloseSend()
			if err := stream.Wait(); !errors.Is(err, errSeenAll) {
				return err
			}
			return nil
		})
	}
}

// errSeenAll ends a watch.
var errSeenAll = errors.New("all events have come")

// newKind is a kind of users that nobody has created.
func (b *bench) newKind() uint64 {
	b.kinds++
	return createdKind + b.kinds
}

// ledger has the users of a kind that were to be created, and those that the server says
// it has created.
type ledger struct {
	kind    uint64
	made    atomic.Int64
	mu      sync.Mutex
	created map[int]bool
}

// Choose is the next user.
func (l *ledger) Choose(*rand.Rand) int { return int(l.made.Add(1)) - 1 }

func (l *ledger) answered(key int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.created[key] = true
}

// ledgerSample is how many users of each sort are looked for.
const ledgerSample = 10_000

// lost is the share of the stored users that were not answered as created, per cent. That
// a user is not stored who was answered is an error.
func (l *ledger) lost(address string) (float64, error) {
	session, err := load.DialSession(address, 0)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	var yes, no []string
	for key := range int(l.made.Load()) {
		if id := population.ID(l.kind, key); l.created[key] {
			yes = append(yes, id)
		} else {
			no = append(no, id)
		}
	}
	stored, asked, err := countStored(session, yes)
	if err == nil && stored < asked {
		err = fmt.Errorf("%d of %d users that were answered as created are stored", stored, asked)
	}
	if err != nil {
		return 0, err
	}
	if stored, asked, err = countStored(session, no); err != nil || stored == 0 {
		return 0, err
	}
	lost := float64(stored) / float64(asked) * float64(len(no))
	return 100 * lost / (lost + float64(len(yes))), nil
}

// countStored looks for some users, and returns how many there are of how many.
func countStored(session *load.Session, ids []string) (stored, asked int, err error) {
	const most = 100 // Users in one call.
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	ids = ids[:min(len(ids), ledgerSample)]
	for from := 0; from < len(ids); from += most {
		request, err := proto.Marshal(&userv1.BatchGetUsersRequest{UserIds: ids[from:min(from+most, len(ids))]})
		if err != nil {
			return 0, 0, err
		}
		err = session.Call("BatchGetUsers", request, func(message []byte) error {
			var response userv1.BatchGetUsersResponse
			err := proto.Unmarshal(message, &response)
			stored += len(response.GetUsers())
			return err
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return stored, len(ids), nil
}
