package connections

import (
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is a listener with one connection.
type pipe struct {
	net.Listener
	conn net.Conn
}

func (p pipe) Accept() (net.Conn, error) { return p.conn, nil }

// What is written to a peer who does not read ends its connection in time, and that to one who
// reads slowly does not.
func TestUnread(t *testing.T) {
	t.Parallel()
	const most = time.Minute
	for name, test := range map[string]struct {
		size   int
		read   func(peer net.Conn)
		closed bool
	}{
		"not read":     {1, func(net.Conn) {}, true},
		"read in part": {1 << 20, func(peer net.Conn) { _, _ = io.ReadFull(peer, make([]byte, 100<<10)) }, true},
		"read slowly": {1 << 20, func(peer net.Conn) {
			for err := error(nil); err == nil; time.Sleep(most / 2) {
				_, err = io.ReadFull(peer, make([]byte, pieceBytes))
			}
		}, false},
		"read at once": {1 << 20, func(peer net.Conn) { _, _ = io.Copy(io.Discard, peer) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				peer, end := net.Pipe()
				conn, err := New(Config{Most: 10, Unread: most, Logger: slog.New(slog.DiscardHandler)}).Listen(pipe{conn: end}).Accept()
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * most) // Nothing waits.
				var reading sync.WaitGroup
				reading.Go(func() { test.read(peer) })
				start := time.Now()
				n, err := conn.Write(make([]byte, test.size))
				took := time.Since(start)
				if test.closed && (err == nil || took < most || took > most*5/4) {
					t.Errorf("after %v a write ends with %v", took, err)
				}
				if !test.closed && (err != nil || n != test.size) {
					t.Errorf("after %v a write ends after %d bytes with %v", took, n, err)
				}
				_ = conn.Close()
				_ = peer.Close()
				reading.Wait()
			})
		})
	}
}
