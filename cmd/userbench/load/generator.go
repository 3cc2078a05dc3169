package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Target says whom to load, how, and with what.
type Target struct {
	Address string // host:port of the server.
	Wire    Wire
	// Connections is the number of connections. Default: 8.
	Connections int
	// Streams is the number of calls at a time on each. Default: 16. HTTP/1.1 has
	// one call on a connection and gets Connections × Streams connections.
	Streams int
	Read    *Op
	Write   *Op     // Instead of Read, for WriteShare of the calls.
	Share   float64 // Of writes among all calls, 0 to 1.
	Keys    Keys
	// Drop does not make the calls of an open loop that find no room on any connection,
	// instead of making them when there is.
	Drop bool
	// Ramp is how long the answers at the start of a run do not count for its rate.
	Ramp time.Duration
}

// call is one call on its way.
type call struct {
	op    *Op
	key   int
	at    time.Duration // When it was sent, or was to be sent.
	phase *phase        // The run that it belongs to.
}

// conn is a connection as the generator sees it. All but start and close are
// called with its lock held, and so is what start is given.
type conn interface {
	start(done func(call, error))
	close()
	lock()
	unlock()
	time() time.Duration // When the response at hand was read.
	room() int           // Calls that may be begun.
	begin(call)
	flush()
}

// lane is a connection and what the generator keeps for it.
type lane struct {
	conn
	random *rand.Rand
	queue  []call // That were due and found no room.
}

// Generator loads one server. It keeps its connections from one run to the next.
type Generator struct {
	target Target
	lanes  []*lane
	seed   uint64 // Of the last open run.
}

// Dial connects to the server.
func Dial(target Target) (*Generator, error) {
	if target.Connections == 0 {
		target.Connections = 8
	}
	if target.Streams == 0 {
		target.Streams = 16
	}
	if target.Wire.Protocol == ConnectHTTP1 {
		target.Connections, target.Streams = target.Connections*target.Streams, 1
	}
	g := &Generator{target: target}
	for i := range target.Connections {
		c, err := g.dial()
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
		l := &lane{conn: c, random: rand.New(rand.NewPCG(uint64(i), 1))}
		c.start(func(c call, err error) { g.done(l, c, err) })
		g.lanes = append(g.lanes, l)
	}
	return g, nil
}

func (g *Generator) dial() (conn, error) {
	if g.target.Wire.Protocol == ConnectHTTP1 {
		return dialH1(g.target.Address, &g.target.Wire)
	}
	return dialUnary(g.target.Address, &g.target.Wire)
}

// Close closes the connections.
func (g *Generator) Close() {
	for _, l := range g.lanes {
		l.close()
	}
}

// phase is one run.
type phase struct {
	recorder
	begun, end time.Duration
	ramped     time.Duration // From when answers count.
	open       bool          // Calls come from outside, else from the responses.
	pending    atomic.Int64
	finished   chan struct{}
}

// finish says that n of the calls that the phase waits for are over.
func (p *phase) finish(n int) {
	if p.pending.Add(-int64(n)) == 0 {
		close(p.finished)
	}
}

// Closed keeps every stream busy for a time: each response gives rise to the next
// request, a refusal when the server's google.rpc.RetryInfo says. It finds what a
// server can carry.
func (g *Generator) Closed(duration time.Duration) *Result {
	p := newPhase(duration, g.target.Ramp, g.target.Wire.Deadline)
	var calls int64
	for _, l := range g.lanes {
		l.lock()
		for range min(g.target.Streams, l.room()) {
			calls++
			p.pending.Add(1)
			l.begin(g.nextCall(p, l, clock()))
		}
		l.flush()
		l.unlock()
	}
	if calls == 0 {
		p.fail(errors.New("no connection is left"))
	}
	p.finish(1)
	p.await()
	return p.result(p.end - p.ramped)
}

func newPhase(duration, ramp, deadline time.Duration) *phase {
	p := &phase{finished: make(chan struct{}), recorder: newRecorder(deadline)}
	p.pending.Store(1) // The phase itself, until all has begun.
	p.begun = clock()
	p.ramped, p.end = p.begun+ramp, p.begun+duration
	return p
}

// answered takes a call of the phase with what has come of it.
func (p *phase) answered(at, now time.Duration, err error) {
	if err != nil {
		p.fail(err)
	} else {
		p.record(now-at, p.ramped <= now && now <= p.end)
	}
}

// ErrNoAnswer is that calls are still under way long after the end of a run. What comes
// of them does not count.
var ErrNoAnswer = errors.New("no answer")

// drainWait is how long the calls under way may take when a run is over.
const drainWait = 10 * time.Second

func (p *phase) await() {
	timeout := time.NewTimer(p.end - clock() + drainWait)
	defer timeout.Stop()
	select {
	case <-p.finished:
	case <-timeout.C:
		p.fail(fmt.Errorf("%d calls: %w after %s", p.pending.Load(), ErrNoAnswer, drainWait))
	}
}

func (g *Generator) nextCall(p *phase, l *lane, at time.Duration) call {
	op := g.target.Read
	if g.target.Share > 0 && l.random.Float64() < g.target.Share {
		op = g.target.Write
	}
	return call{op: op, key: g.target.Keys.Choose(l.random), at: at, phase: p}
}

// done takes a call that is over, with the lock of its lane held.
func (g *Generator) done(l *lane, c call, err error) {
	p, now := c.phase, l.time()
	p.answered(c.at, now, err)
	delay := RetryDelay(err)
	switch {
	case now >= p.end || l.room() == 0: // The run is over, or the connection gone.
		p.abandon(l.queue, now)
		p.finish(1 + len(l.queue))
		l.queue = nil
	case p.open && len(l.queue) > 0:
		l.begin(l.queue[0])
		l.queue = l.queue[1:]
		p.finish(1)
	case p.open:
		p.finish(1)
	case delay > 0:
		time.AfterFunc(min(delay, p.end-now), func() { g.retry(l, p) })
	default:
		l.begin(g.nextCall(p, l, now))
	}
}

// retry makes the next call of a caller who was told to wait.
func (g *Generator) retry(l *lane, p *phase) {
	l.lock()
	defer l.unlock()
	now := clock()
	if now >= p.end || l.room() == 0 {
		p.finish(1)
		return
	}
	l.begin(g.nextCall(p, l, now))
	l.flush()
}

var clockStart = time.Now()

// clock is the time since the process started.
func clock() time.Duration { return time.Since(clockStart) }
