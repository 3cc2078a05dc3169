//go:build !race

package cache

import (
	"strings"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
)

// manyUsers is how many users the clients share, where a server is not to see each
// change for itself.
const manyUsers = 5000

// TestHistoryCatches switches off one part of the protocol at a time: the checks
// of a history must notice.
func TestHistoryCatches(t *testing.T) {
	for _, test := range []struct {
		load peerSettings
		do   func(*drill)
		want string
	}{
		{peerSettings{
			Broken: "lease check", Clients: 50, Users: manyUsers, Updates: 0.02, Slow: 0.3, SlowFor: 300 * time.Millisecond,
		}, flushSome, "staleness"},
		{peerSettings{Broken: "floor", Users: fewUsers, Updates: 0.0005}, freezeOften, "own write"},
		{peerSettings{Broken: "trust", Users: fewUsers, Updates: 0.0002, Relay: 4 * time.Second}, killSome, "staleness"},
		{peerSettings{Broken: "relay", Users: fewUsers, Updates: 0.0002}, killSome, "staleness"},
	} {
		t.Run(test.load.Broken, func(t *testing.T) {
			d := newDrill(t, test.load, 3)
			d.run(2 * time.Second)
			test.do(d)
			checked := cachetest.Check(d.finish(), defaultStaleness+slack)
			if found := strings.Join(checked.Violations, "\n"); !strings.Contains(found, test.want) {
				t.Errorf("%d reads, violations %q, want %q", checked.Reads, found, test.want)
			}
		})
	}
}

// flushSome makes all users be read again while they change.
func flushSome(d *drill) {
	for range 2 {
		d.primary.Flush()
		d.run(3 * time.Second)
	}
}

// freezeOften makes a few applies late: Redis is frozen for less than a heartbeat,
// and less often used than would end its use.
func freezeOften(d *drill) {
	for range 10 {
		freeze(150 * time.Millisecond)(d)
		d.run(300 * time.Millisecond)
	}
}

// killSome leaves changes that nobody applied, and others alive for long enough to
// show what was before.
func killSome(d *drill) {
	for range 4 {
		d.killBetween()
		d.run(defaultStaleness + time.Second)
	}
}
