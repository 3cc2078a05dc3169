package cache

import (
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store/storetest"
)

// soak makes the history longer: every fault that often.
var soak = flag.Int("soak", 1, "how often TestHistory goes through all faults")

// fault breaks something while servers are under load, and mends it.
type fault struct {
	name string
	do   func(*drill)
}

var faults = []fault{
	{"kill -9 and an empty restart", func(d *drill) {
		d.primary.Kill()
		d.run(time.Second)
		d.primary.RestartEmpty()
	}},
	{"kill -9 and a restart from an old RDB file", func(d *drill) {
		d.primary.Save()
		d.run(2 * time.Second)
		d.primary.Kill()
		d.primary.Up()
	}},
	{"a frozen Redis for 0.1 s", freeze(100 * time.Millisecond)},
	{"a frozen Redis for 1 s", freeze(time.Second)},
	{"a frozen Redis for 4 s", freeze(4 * time.Second)},
	{"all clients killed", func(d *drill) {
		for range 5 {
			d.primary.KillClients()
			d.run(100 * time.Millisecond)
		}
	}},
	{"FLUSHALL", func(d *drill) {
		for range 3 {
			d.primary.Flush()
			d.run(300 * time.Millisecond)
		}
	}},
	{"very little memory", setting("maxmemory", "1500kb", "256mb")},
	{"a small tracking table", setting("tracking-table-max-keys", "100", "1000000")},
	{"the promotion of a replica that is behind", func(d *drill) { d.promote(3 * time.Second) }},
	{"answers of Redis lost", func(d *drill) { lose(d, d.proxy.LoseAnswers) }},
	{"requests to Redis lost", func(d *drill) { lose(d, d.proxy.LoseRequests) }},
	{"a server killed between commit and apply", func(d *drill) { d.killBetween() }},
}

func freeze(long time.Duration) func(*drill) {
	return func(d *drill) {
		d.primary.Freeze()
		d.run(long)
		d.primary.Thaw()
	}
}

func setting(name, value, normal string) func(*drill) {
	return func(d *drill) {
		d.primary.Set(name, value)
		d.run(3 * time.Second)
		d.primary.Set(name, normal)
	}
}

func lose(d *drill, lose func(bool)) {
	lose(true)
	d.run(3 * time.Second)
	lose(false)
}

// fewUsers is how many users the clients share, where many reads are to be of users
// that have just changed.
const fewUsers = 200

// Bounds that a history must keep. The promises are 300 ms and 3 s; a machine with
// two busy cores takes longer to run what has been decided.
const (
	slack       = 10 * time.Millisecond
	waitBound   = time.Second
	regainGoal  = 3 * time.Second
	regainBound = 4 * time.Second
)

// TestHistory lets three servers read and write while Redis and servers fail, and
// checks all that their clients saw.
func TestHistory(t *testing.T) {
	d := newDrill(t, peerSettings{
		Database: storetest.Postgres(t, migrate),
		Users:    fewUsers, Updates: shareUpdate, NoCache: shareNoCache, Fleet: shareFleet, Slow: shareSlow, SlowFor: 20 * time.Millisecond,
	}, 3)
	d.run(3 * time.Second)
	for range *soak {
		for _, f := range faults {
			f.do(d)
			d.heal(f.name)
			d.run(regainBound)
		}
	}
	ops := d.finish()
	checked := cachetest.Check(ops, defaultStaleness+slack)
	t.Logf("%d reads, %d of the store, %d writes, slowest read %v", checked.Reads, checked.NoCacheReads, checked.Writes, checked.Slowest)
	if len(checked.Violations) > 0 {
		t.Errorf("promises broken:\n%s", strings.Join(checked.Violations, "\n"))
	}
	if checked.Failed > 0 {
		t.Errorf("%d operations failed", checked.Failed)
	}
	if want := 1_000_000; checked.Reads < want && !raceDetector {
		t.Errorf("%d reads, want %d", checked.Reads, want)
	}
	d.checkWaits(ops)
	if !raceDetector {
		d.checkRegained(ops)
	}
	report, err := Check(t.Context(), d.store, Config{Redis: d.proxy.URL()}, 100_000)
	if err != nil || len(report.Stale) > 0 || report.Corrupt > 0 {
		t.Errorf("cached against stored: %+v, %v", report, err)
	}
	t.Logf("%d entries compared", report.Entries)
}

// checkRegained checks that every server trusted its cache again soon after each
// fault.
func (d *drill) checkRegained(ops []cachetest.Op) {
	d.t.Helper()
	for _, h := range d.healed {
		for _, server := range h.servers {
			if err := cachetest.TrustedWithin(ops, server, h.at, h.at+int64(regainBound)); err != nil {
				d.t.Errorf("%s: %v", h.fault, err)
			} else if cachetest.TrustedWithin(ops, server, h.at, h.at+int64(regainGoal)) != nil {
				d.t.Logf("%s: server %d took longer than %v to trust its cache again", h.fault, server, regainGoal)
			}
		}
	}
}

// checkWaits checks and tells how long reads took.
func (d *drill) checkWaits(ops []cachetest.Op) {
	d.t.Helper()
	var waits []time.Duration
	for _, op := range ops {
		if op.Kind == cachetest.Get && op.End != 0 {
			waits = append(waits, time.Duration(op.End-op.Start))
		}
	}
	slices.Sort(waits)
	if slowest := waits[len(waits)-1]; slowest > waitBound && !raceDetector {
		d.t.Errorf("a read took %v", slowest)
	}
	at := func(share float64) time.Duration { return waits[int(share*float64(len(waits)-1))] }
	d.t.Logf("waits: median %v, 99 %% %v, 99.9 %% %v, 99.99 %% %v, 99.999 %% %v", at(0.5), at(0.99), at(0.999), at(0.9999), at(0.99999))
}
