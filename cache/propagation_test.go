//go:build !race

package cache

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
)

// propagation is how soon another server shows a write in quiet running, in 99 of
// 100 times.
const propagation = 10 * time.Millisecond

// Each server has its own near cache; what one writes the other shows. Not in
// parallel, and not under the race detector: it measures. A write during which the
// machine kept others waiting, too, is not quiet running and does not count.
func TestAnotherServerShowsWrites(t *testing.T) {
	b := onRedis(t)
	here, there := b.open(t), b.open(t)
	u := b.user(t)
	metronome := cachetest.StartMetronome(t, b.redis)
	const writes, attempts = 1000, 20_000
	var took []time.Duration
	version := int64(1)
	for range attempts {
		warm(t, there, u.ID, version)
		late := metronome.Late()
		version++
		rename(t, here, u.ID, fmt.Sprint(version))
		began := time.Now()
		for e := (Entry{}); e.Version != version; {
			var err error
			if e, err = there.Lookup(t.Context(), u.ID, Read{}); err != nil {
				t.Fatal(err)
			}
		}
		sample := time.Since(began)
		if metronome.Late() == late {
			took = append(took, sample)
		}
		if len(took) == writes {
			break
		}
	}
	if len(took) < writes {
		t.Fatalf("%d writes of %d were on a quiet machine", len(took), attempts)
	}
	slices.Sort(took)
	t.Logf("shown by the other server after: median %v, 99 %% %v, most %v; %d writes did not count",
		took[writes/2], took[writes*99/100], took[writes-1], int(version)-1-writes)
	if p99 := took[writes*99/100]; p99 > propagation {
		t.Errorf("99 %% within %v, want %v", p99, propagation)
	}
}
