package body

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// sender is a connection whose peer sends a body of one byte after some time.
type sender struct {
	http.ResponseWriter
	sends <-chan time.Time
	ended chan struct{}
}

func (s *sender) SetReadDeadline(time.Time) error {
	close(s.ended)
	return nil
}

func (s *sender) Read(p []byte) (int, error) {
	select {
	case <-s.sends:
		return copy(p, "x"), io.EOF
	case <-s.ended:
		return 0, fmt.Errorf("read: %w", os.ErrDeadlineExceeded)
	}
}

// receive has a request come that is whole after a time, and returns what reading it has ended with.
func receive(arrivals *Arrivals, sends time.Duration) (err error) {
	peer := &sender{httptest.NewRecorder(), time.After(sends), make(chan struct{})}
	request := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(peer))
	RefuseSlow(nil, arrivals)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err = io.ReadAll(r.Body)
	})).ServeHTTP(peer, request)
	return err
}

// A server that stops has as much patience with a request that comes while it does as
// with those that were there before: its peer could not know.
func TestDrainIsPatient(t *testing.T) {
	const soon = 10 * time.Millisecond
	for name, test := range map[string]struct {
		comes, sends time.Duration // After the server begins to stop, and after that.
		want         bool
	}{
		"there before, goes on":   {-soon, drainPatience, true},
		"there before, silent":    {-soon, 3 * drainPatience, false},
		"comes before a look":     {drainPatience - soon, drainPatience, true},
		"comes, and says nothing": {drainPatience - soon, 3 * drainPatience, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				arrivals := NewArrivals(time.Hour)
				begin := max(0, -test.comes)
				time.AfterFunc(begin, func() { arrivals.Drain(t.Context()) })
				time.Sleep(begin + test.comes)

				err := receive(arrivals, test.sends)
				if whole := err == nil; whole != test.want {
					t.Errorf("the request is whole: %t, want %t; error %v", whole, test.want, err)
				}
			})
		})
	}
}
