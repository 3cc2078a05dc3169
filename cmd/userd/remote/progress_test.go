package remote

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// Under the race detector. The first row of an export may take a while.
func TestBarOfUnknownSize(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bar := newBar(-1, "exported", io.Discard)
		time.Sleep(time.Second)
		for range 3 {
			if err := bar.Add(1); err != nil {
				t.Error(err)
			}
		}
		if err := bar.Finish(); err != nil {
			t.Error(err)
		}
	})
}
