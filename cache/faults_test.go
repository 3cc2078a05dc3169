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
	checked := cachetest.Check(d.finish(), defaultStaleness+slack)
	t.Logf("%d reads, %d of the store, %d writes", checked.Reads, checked.NoCacheReads, checked.Writes)
	if len(checked.Violations) > 0 {
		t.Errorf("promises broken:\n%s", strings.Join(checked.Violations, "\n"))
	}
	if checked.Failed > 0 {
		t.Errorf("%d operations failed", checked.Failed)
	}
}
