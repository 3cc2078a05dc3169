package cache

import (
	"strings"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store/storetest"
)

const (
	// slack is what clocks and schedulers may add to X.
	slack = 10 * time.Millisecond

	// between is how long the load goes on between two faults.
	between = time.Second
)

// TestHistory lets three peers read and write while Redis and peers fail, and checks
// all that their clients saw. It says nothing about how long anything takes; the
// history in cmd/userd does. Under the race detector it is a short one.
func TestHistory(t *testing.T) {
	t.Parallel()
	d := newDrill(t, peerSettings{
		Database: storetest.Postgres(t, migrate), Load: cachetest.DefaultLoad,
		Slow: 0.05, SlowFor: 20 * time.Millisecond,
	}, 3)
	cachetest.Run(t, between)
	for _, f := range append(d.site.Faults(), cachetest.Fault{Name: "a server killed between commit and apply", Do: d.killBetween}) {
		if f.Long && raceDetector {
			continue
		}
		f.Do()
		cachetest.Run(t, between)
	}
	d.idle()
	report, err := Check(t.Context(), d.store, Config{Redis: d.site.Primary.URL()}, 100_000)
	if err != nil || len(report.Stale) > 0 || report.Corrupt > 0 || report.Entries == 0 {
		t.Errorf("cached against stored: %+v, %v", report, err)
	}
	d.judge()
}

// TestHistoryOfNames has peers on one file change names and search for them, by an index that
// follows the log, while they are killed one after the other.
func TestHistoryOfNames(t *testing.T) {
	t.Parallel()
	load := cachetest.DefaultLoad
	load.Clients, load.Pace, load.Updates, load.Fleeting, load.ByName = 4, 5*time.Millisecond, 0.05, 0.01, 0.3
	d := newDrill(t, peerSettings{Load: load}, 3)
	for range 3 {
		cachetest.Run(t, between)
		d.killBetween()
	}
	cachetest.Run(t, between)
	d.idle()
	d.judge()
}

// judge ends the peers and checks all that their clients saw.
func (d *drill) judge() {
	d.t.Helper()
	checked := cachetest.Check(d.finish(), defaultStaleness+slack)
	d.t.Logf("%d reads, %d of the store, %d searches, %d writes", checked.Reads, checked.NoCacheReads, checked.Searches, checked.Writes)
	if len(checked.Violations) > 0 {
		d.t.Errorf("promises broken:\n%s", strings.Join(checked.Violations, "\n"))
	}
	if checked.Failed > 0 || checked.Searches == 0 {
		d.t.Errorf("%d operations failed, %d were searches", checked.Failed, checked.Searches)
	}
}
