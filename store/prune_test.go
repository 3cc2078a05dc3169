package store

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPrunerTrustsNoClockAlone(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, test := range map[string]struct {
		first, then Span
		passed      time.Duration
		want        time.Time
	}{
		"removes what is too old": {
			Span{now.Add(-7 * day), now, now},
			Span{now.Add(-7 * day), now.Add(10 * time.Minute), now.Add(10 * time.Minute)},
			10 * time.Minute, now.Add(-7*day + 10*time.Minute),
		},
		"nothing while nothing happens": {
			Span{now.Add(-7 * day), now, now},
			Span{now.Add(-7 * day), now, now.Add(8 * day)},
			8 * day, now.Add(-7 * day),
		},
		"nothing more for a change by a clock that is ahead": {
			Span{now.Add(-7 * day), now, now},
			Span{now.Add(-7 * day), now.Add(10 * day), now},
			0, now.Add(-7 * day),
		},
		"nothing more when the database's clock jumps and the next change has its time": {
			Span{now.Add(-time.Minute), now, now.Add(10 * day)},
			Span{now.Add(-time.Minute), now.Add(10 * day), now.Add(10 * day)},
			time.Minute, now.Add(-7*day + time.Minute),
		},
		"an hour after a start when that change is in the log": {
			Span{now.Add(-6 * day), now.Add(10 * day), now.Add(10 * day)},
			Span{now.Add(-6 * day), now.Add(10 * day), now.Add(10 * day)},
			0, now.Add(-6*day + time.Hour),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := Pruner{Retention: 7 * day}
				p.before(test.first)
				time.Sleep(test.passed) // Of the bubble's clock.
				if got := p.before(test.then); !got.Equal(test.want) {
					t.Errorf("removes what is before %s, want %s", got, test.want)
				}
			})
		})
	}
}
