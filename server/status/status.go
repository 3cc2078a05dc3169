package status

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	adminv1 "github.com/example/userd/gen/userd/admin/v1"
	"github.com/example/userd/gen/userd/admin/v1/adminv1connect"
	"github.com/example/userd/server/gather"
)

const (
	// defaultInterval is the time between two messages.
	defaultInterval = time.Second
	// shareFor is how long a look is good enough for another watcher. It is less than any
	// interval, so that each has a new one for each message.
	shareFor = 500 * time.Millisecond
)

// Config says whose status is told. All must be set.
type Config struct {
	// Metrics are those of the server.
	Metrics prometheus.Gatherer
	// Running returns what ends when a call with a context is to, with the cause.
	Running func(context.Context) context.Context
}

// Service serves the RPCs of userd.admin.v1.StatusService.
type Service struct {
	adminv1connect.UnimplementedStatusServiceHandler
	Config
	started time.Time

	mu   sync.Mutex
	last *look
}

// look is what the metrics were at a moment.
type look struct {
	at time.Time
	metrics
}

// New returns a service of a server that starts now.
func New(config Config) *Service { return &Service{Config: config, started: time.Now()} }

// WatchStatus sends the status at once, and then again and again. A watcher that does not read
// is ended by gather.Streams.
func (s *Service) WatchStatus(ctx context.Context, req *adminv1.WatchStatusRequest, stream adminv1connect.StatusServiceWatchStatusServerStream) error {
	interval := defaultInterval
	if req.GetInterval() != nil {
		interval = req.GetInterval().AsDuration()
	}
	running := s.Running(ctx)
	for before := (*look)(nil); ; {
		now, err := s.look()
		if err != nil {
			return err
		}
		if err := stream.Send(s.response(before, now)); err != nil {
			return err
		}
		if err := gather.Flush(ctx); err != nil {
			return err
		}
		before = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-running.Done():
			return context.Cause(running)
		case <-time.After(interval): // No ticker: two messages of one look would have no rates.
		}
	}
}

// look looks at the metrics. Watchers share them: many cause no more than two a second.
func (s *Service) look() (*look, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && time.Since(s.last.at) < shareFor {
		return s.last, nil
	}
	families, err := s.Metrics.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	s.last = &look{time.Now(), newMetrics(families)}
	return s.last, nil
}
