//go:build !race

package cache

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
)

// manyUsers is how many users the clients share, where a server is not to see each
// change for itself.
const manyUsers = 5000

// TestHistoryCatches switches off one part of the protocol at a time: the checks
// of a history must notice. Not under the race detector: what must go wrong takes
// many reads in little time.
func TestHistoryCatches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		settings peerSettings
		load     func(*cachetest.Load)
		do       func(*drill)
		want     string // Regular expression.
	}{
		{
			peerSettings{Broken: "lease check", Slow: 0.3, SlowFor: 300 * time.Millisecond},
			func(l *cachetest.Load) { l.Clients, l.Users, l.Updates = 150, manyUsers, 0.02 }, flushSome, "staleness",
		},
		{peerSettings{Broken: "floor"}, func(l *cachetest.Load) { l.Updates = 0.0015 }, freezeOften, "own write|back in time"},
		{peerSettings{Broken: "trust", Relay: 4 * time.Second}, func(l *cachetest.Load) { l.Updates = 0.0006 }, killSome, "staleness"},
		{peerSettings{Broken: "relay"}, func(l *cachetest.Load) { l.Updates = 0.0006 }, killSome, "staleness"},
	} {
		t.Run(test.settings.Broken, func(t *testing.T) {
			t.Parallel()
			test.settings.Load = cachetest.DefaultLoad
			load := &test.settings.Load // What asks the store for a user raises the floor, and hides what is broken.
			load.NoCache, load.ByEmail, load.Fleeting, load.Many = 0, 0, 0, 0
			test.load(load)
			d := newDrill(t, test.settings, 3)
			cachetest.Run(t, 2*time.Second)
			test.do(d)
			checked := cachetest.Check(d.finish(), defaultStaleness+slack)
			found := strings.Join(checked.Violations, "\n")
			if !regexp.MustCompile(test.want).MatchString(found) {
				t.Errorf("%d reads, violations %q, want %q", checked.Reads, found, test.want)
			}
		})
	}
}

// flushSome makes all users be read again while they change.
func flushSome(d *drill) {
	for range 2 {
		d.site.Primary.Flush()
		cachetest.Run(d.t, 3*time.Second)
	}
}

// freezeOften makes a few applies late: Redis is frozen for less than a heartbeat,
// and less often used than would end its use.
func freezeOften(d *drill) {
	for range 10 {
		d.site.Primary.Freeze()
		cachetest.Run(d.t, 150*time.Millisecond)
		d.site.Primary.Thaw()
		cachetest.Run(d.t, 300*time.Millisecond)
	}
}

// killSome leaves changes that nobody applied, and others alive for long enough to
// show what was before.
func killSome(d *drill) {
	for range 4 {
		d.killBetween()
		cachetest.Run(d.t, defaultStaleness+time.Second)
	}
}
