package connections

import "time"

// Peers who do not read keep those waiting who write to them, with all that these hold.
// http.Server has a limit only for a whole answer, counted from its request: streams do not
// keep to that. A deadline for each answer costs more than most answers do. So all connections
// are looked at now and then, and one on which the same has waited for too many looks is closed.

// looksUnread is in how many looks the time goes by that something may wait. It is noticed with
// the next one.
const looksUnread = 8

// pieceBytes is how much is written at a time: who takes that, however slowly, reads.
const pieceBytes = 64 << 10

// write writes to the connection in pieces.
func (c *connection) write(p []byte) (n int, err error) {
	for {
		c.writing.Store(c.connections.looks.Load())
		written, err := c.Conn.Write(p[n:min(n+pieceBytes, len(p))])
		if n += written; err != nil || n == len(p) {
			c.writing.Store(0)
			return n, err
		}
	}
}

// keepLooking looks at the connections as long as there are any. c.mu is held.
func (c *Limiter) keepLooking() {
	if c.looking || c.config.Unread == 0 {
		return
	}
	c.looking = true
	if c.timer == nil {
		c.timer = time.AfterFunc(c.config.Unread/looksUnread, c.look)
		return
	}
	c.timer.Reset(c.config.Unread / looksUnread)
}

// look closes the connections on which something has waited for too long.
func (c *Limiter) look() {
	now := c.looks.Add(1)
	for _, conn := range c.unreadSince(now - looksUnread - 1) {
		_ = conn.Conn.Close() // Those who write to it find out.
	}
}

// unreadSince is the connections on which something has waited since a look, and sets the timer
// for the next.
func (c *Limiter) unreadSince(look int64) (unread []*connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if since := conn.writing.Load(); since != 0 && since <= look {
			unread = append(unread, conn)
		}
	}
	if c.looking = false; len(c.open) > 0 {
		c.keepLooking()
	}
	return unread
}
