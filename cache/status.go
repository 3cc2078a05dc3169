package cache

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// state is how the cache is used.
type state int

const (
	starting state = iota
	trusted
	distrusted // It answers, but is behind.
	bypassed   // It does not answer.
)

// What the log gets at most.
const (
	patience     = 3 * time.Second  // With a backend that answers and is not trusted yet.
	warningEvery = 10 * time.Minute // For each cause.
	linesAtOnce  = 40
	lineEvery    = time.Second // Beyond them.
)

// status is what the log was told last.
type status struct {
	mu     sync.Mutex
	state  state
	told   map[*cause]bool  // Why it is in this state.
	warned map[*cause]int64 // When.
	since  int64            // When it was trusted or bypassed last.
	lines  quota
}

// quota is how many lines may be written: so many at once, and then one at a time.
type quota struct {
	used int
	at   int64 // When used was right.
}

func (q *quota) take(now int64) bool {
	regained := (now - q.at) / int64(lineEvery)
	q.used, q.at = max(0, q.used-int(regained)), q.at+regained*int64(lineEvery)
	if q.used == linesAtOnce {
		return false
	}
	q.used++
	return true
}

// turn writes a line where the state is another than before, or the cause is one
// that was not told since then. It is called again at the next heartbeat: a line for
// which there is no quota is late, and the last one is true.
func (c *Cache) turn(next state, why error) {
	s, now := &c.status, c.clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if next != distrusted {
		s.since = now
	}
	hopeful := next == distrusted && s.state != trusted && now-s.since < int64(patience)
	told := s.state == next && s.told[causeOf(why)]
	if c.ctx.Err() != nil || hopeful || told || !s.lines.take(now) {
		return
	}
	if s.state != next {
		s.state, s.told = next, make(map[*cause]bool)
	}
	s.told[causeOf(why)] = true
	switch next {
	case trusted:
		c.config.Logger.Info("cache is trusted")
	case distrusted:
		c.tell("cache is not trusted", why)
	case bypassed:
		c.tell("cache is bypassed", why)
	}
}

// warn writes a line about what does harm without an end of trust.
func (c *Cache) warn(why *cause) {
	s, now := &c.status, c.clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.warned[why]; last != 0 && now-last < int64(warningEvery) || c.ctx.Err() != nil {
		return
	}
	if s.warned == nil {
		s.warned = make(map[*cause]int64)
	}
	s.warned[why] = now
	c.tell("redis is not as the cache needs it", why)
}

// tell writes a line with a cause.
func (c *Cache) tell(message string, why error) {
	known := causeOf(why)
	attributes := []slog.Attr{slog.String("cause", known.name), slog.String("reason", known.words)}
	if command := refusedCommand(why); command != "" {
		attributes = append(attributes, slog.String("command", command))
	}
	c.config.Logger.LogAttrs(context.Background(), known.level, message, attributes...)
}
