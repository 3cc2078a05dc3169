package body

import (
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Each request has its own time to come, whoever else is expected meanwhile.
func TestEachRequestHasItsTimeToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout, never = 10 * time.Second, time.Hour
		arrivals, start := NewArrivals(timeout), time.Now()
		var requests sync.WaitGroup
		for name, test := range map[string]struct{ begins, sends, ends time.Duration }{
			"silent":                            {0, never, timeout},
			"whole, before others":              {time.Second, 2 * time.Second, 3 * time.Second},
			"silent, while another is":          {4 * time.Second, never, 4*time.Second + timeout},
			"whole, after others":               {5 * time.Second, time.Second, 6 * time.Second},
			"silent, when nobody was left":      {15 * time.Second, never, 15*time.Second + timeout},
			"nearly late, when nobody was left": {30 * time.Second, timeout - time.Millisecond, 30*time.Second + timeout - time.Millisecond},
			"silent, soon after it":             {31 * time.Second, never, 31*time.Second + timeout},
		} {
			requests.Go(func() {
				time.Sleep(test.begins)
				err := receive(arrivals, test.sends)
				if ended := time.Since(start); ended != test.ends || errors.Is(err, os.ErrDeadlineExceeded) != (test.sends == never) {
					t.Errorf("%s: it ends after %s with error %v, want %s", name, ended, err, test.ends)
				}
			})
		}
		requests.Wait()
		if arrivals.first != nil || arrivals.last != nil {
			t.Error("somebody is expected still")
		}
	})
}
