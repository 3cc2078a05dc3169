package edge

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/gen/user/v1/userv1connect"
)

// The streams of a process are bounded in all. No address has more than half of them, and those
// that need no credentials take no place of others.
func TestStreamsOfAProcess(t *testing.T) {
	t.Parallel()
	const watchHealth = "/grpc.health.v1.Health/Watch"
	limit := NewStreamLimit(1_000, 10_000, 16, prometheus.NewRegistry())
	var ends []func()
	open := func(path, from string) (streams int) {
		r := httptest.NewRequest(http.MethodPost, path, nil)
		for r.RemoteAddr = from + ":1234"; ; streams++ {
			end := limit.begin(r)
			if end == nil {
				return streams
			}
			ends = append(ends, end)
		}
	}
	for round := range 2 {
		for _, try := range []struct {
			path, from string
			want       int
		}{
			{watchHealth, "192.0.2.1", 2},
			{watchHealth, "192.0.2.2", 2},
			{watchHealth, "192.0.2.3", 0},
			{userv1connect.UserServiceWatchUsersProcedure, "192.0.2.1", 6},
			{userv1connect.UserServiceListUsersProcedure, "192.0.2.2", 6},
			{userv1connect.UserServiceWatchUsersProcedure, "192.0.2.3", 0},
		} {
			if got := open(try.path, try.from); got != try.want {
				t.Errorf("round %d: %s has %d streams of %s, want %d", round, try.from, got, try.path, try.want)
			}
		}
		for _, end := range ends {
			end()
		}
		ends = nil
	}
}
