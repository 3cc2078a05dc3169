package postgres

import (
	"context"
	"net"
	"time"

	"github.com/example/userd/socket"
)

// silenceTime is how long a database may not confirm what was sent to it, nor that it is
// there.
const silenceTime = 5 * time.Second

// dialer makes connections that are lost when the machine of the database is gone, or cut
// off. Nobody closes them then, and TCP by itself sends for a quarter of an hour again and
// again what is on its way: calls without a deadline would wait for all of that, and so would
// the lifelines, long after another machine has taken over.
var dialer = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silenceTime / 2, Interval: silenceTime / 5, Count: 3},
	Control:         limitSilence,
}

// dial is pgconn's DialFunc.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return socket.Wrap(nc), nil
}
