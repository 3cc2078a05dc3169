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

// rounds is how often a drill does the same at most; usually once or twice is enough.
const rounds = 20

// TestHistoryCatches switches off one part of the protocol at a time: the checks
// of a history must notice. What goes wrong is a matter of chance and of time, so each
// drill goes on until they do; and nothing else runs meanwhile, nor the race detector.
func TestHistoryCatches(t *testing.T) {
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
			test.settings.Load = cachetest.DefaultLoad
			load := &test.settings.Load // What asks the store for a user raises the floor, and hides what is broken.
			load.NoCache, load.ByEmail, load.ByName, load.Fleeting, load.Many = 0, 0, 0, 0, 0
			test.load(load)
			d := newDrill(t, test.settings, 3)
			cachetest.Run(t, 2*time.Second)
			want, found := regexp.MustCompile(test.want), ""
			for round := 0; round < rounds && !want.MatchString(found); round++ {
				test.do(d)
				found = strings.Join(cachetest.Check(d.history(), defaultStaleness+slack).Violations, "\n")
			}
			d.idle()
			if d.finish(); !want.MatchString(found) {
				t.Errorf("violations %q, want %q", found, test.want)
			}
		})
	}
}

// flushSome makes all users be read again while they change.
func flushSome(d *drill) {
	d.site.Primary.Flush()
	cachetest.Run(d.t, 3*time.Second)
}

// freezeOften makes a few applies late: Redis is frozen for less than a heartbeat,
// and less often used than would end its use.
func freezeOften(d *drill) {
	for range 5 {
		d.site.Primary.Freeze()
		cachetest.Run(d.t, 150*time.Millisecond)
		d.site.Primary.Thaw()
		cachetest.Run(d.t, 300*time.Millisecond)
	}
}

// killSome leaves a change that nobody applied, and others alive for long enough to
// show what was before.
func killSome(d *drill) {
	d.killBetween()
	cachetest.Run(d.t, defaultStaleness+time.Second)
}
