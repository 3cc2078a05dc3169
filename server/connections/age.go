package connections

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"github.com/example/userd/store/guard"
)

// A client that has a connection keeps it, whatever servers have come since: behind what spreads
// connections, and not calls, a new one gets nothing to do. So connections may have an age at
// which their peers are told to open others. Those that came together, as after a restart, do
// not go together.

// ageSpread is how much earlier or later than at its age a connection may go, as a part of that.
const ageSpread = 0.1

// tenure is the time in which a connection takes new calls.
type tenure struct {
	timer   *time.Timer
	running context.Context // Ends with it, for what would never end.
	end     context.CancelCauseFunc
}

// begin begins the tenure of a connection, if it is to have an end.
func (c *connection) begin() {
	config := &c.connections.config
	if config.MaxAge <= 0 {
		return
	}
	c.tenure.running, c.tenure.end = context.WithCancelCause(config.Running)
	age := time.Duration(float64(config.MaxAge) * (1 - ageSpread + 2*ageSpread*rand.Float64()))
	c.tenure.timer = guard.Timer(age, c.retire)
}

// retire tells the peer to open another connection. What never ends by itself is ended
// when the peer has been told, so that it begins again elsewhere.
func (c *connection) retire() {
	c.old.Store(true)
	if served := c.served.Load(); served != nil {
		(*served).GoAway()
	}
	c.tenure.end(c.connections.config.TooOld)
}

// leaveTenure ends what retire would: the connection has ended before.
func (c *connection) leaveTenure() {
	if c.tenure.timer != nil {
		c.tenure.timer.Stop()
		c.tenure.end(context.Canceled)
	}
}

type connectionKey struct{}

// ConnContext has the requests of a connection know it. It is the ConnContext of http.Server.
func ConnContext(ctx context.Context, nc net.Conn) context.Context {
	if c := connectionOf(nc); c != nil {
		return context.WithValue(ctx, connectionKey{}, c)
	}
	return ctx
}

// IsOld reports whether the connection of a request, which has this context, is older than it may
// be.
func IsOld(ctx context.Context) bool {
	c, ok := ctx.Value(connectionKey{}).(*connection)
	return ok && c.old.Load()
}

// Running returns what ends when a call with this context should, though it never would by
// itself: when its connection is older than it may be, or Config.Running has ended. It is nil
// where connections may become as old as they like.
func Running(ctx context.Context) context.Context {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c.tenure.running
	}
	return nil
}
