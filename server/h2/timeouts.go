package h2

import (
	"maps"
	"slices"
	"time"

	"golang.org/x/net/http2"
)

// Bounds of how often connections are looked at for what has taken too long.
const (
	minTick = 5 * time.Millisecond
	maxTick = 250 * time.Millisecond
)

// watchConns looks at all connections again and again. One goroutine for all is
// cheaper than timers of each, which every frame would move.
func (s *Server) watchConns() {
	shortest := min(s.config.HeaderTimeout, s.config.IdleTimeout, s.config.PingAfter,
		s.config.PingTimeout, s.config.WriteTimeout)
	ticker := time.NewTicker(max(minTick, min(maxTick, shortest/4)))
	defer ticker.Stop()
	for {
		select {
		case <-s.drained:
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		conns := slices.Collect(maps.Keys(s.conns))
		s.mu.Unlock()
		for _, c := range conns {
			_ = s.guarded(c.remote, func() error { // Others are still looked at.
				c.check(time.Now())
				return nil
			})
		}
	}
}

// check ends what has taken too long.
func (c *conn) check(now time.Time) {
	overdue := func(since time.Time, limit time.Duration) bool {
		return !since.IsZero() && now.Sub(since) > limit
	}
	config := &c.srv.config
	c.mu.Lock()
	defer c.unlockAndFlush()
	switch {
	case overdue(c.headerSince, config.HeaderTimeout):
		c.timeOut("headers took too long")
	case overdue(c.pinged, config.PingTimeout):
		c.timeOut("PING was not answered")
	case overdue(c.writing, config.WriteTimeout):
		c.timeOut("nothing was read")
		_ = c.nc.Close() // Who writes must not wait any longer.
	case !c.closing && overdue(c.lastDue, 0):
		c.lastGoAway()
	case len(c.streams) == 0 && c.running == 0 && overdue(c.idleSince, config.IdleTimeout):
		c.firstGoAway() // A call may be on its way.
	case c.pinged.IsZero() && overdue(c.lastRead, config.PingAfter):
		c.pinged = now
		c.out = appendFrame(c.out, http2.FramePing, 0, 0, make([]byte, 8))
	}
	for _, s := range c.streams {
		if d, ok := s.work.(*directStream); ok && !s.remoteDone && (overdue(d.opened, config.ReadTimeout) || d.silent(now)) {
			d.expire()
		}
		if len(s.pending) > 0 && overdue(s.blocked, config.WriteTimeout) {
			c.srv.stats.Timeouts.Add(1)
			s.expireWrite()
		}
		s.checkDeadlines(now)
	}
}

// timeOut closes the connection. c.mu is held.
func (c *conn) timeOut(reason string) {
	if c.fatal == nil {
		c.srv.stats.Timeouts.Add(1)
	}
	c.fail(connectionError(http2.ErrCodeNo, reason))
}
