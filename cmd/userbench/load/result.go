package load

import (
	"errors"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds and precision of the histograms: microseconds, three digits.
const (
	shortest = 1
	longest  = int64(2 * time.Minute / time.Microsecond)
	digits   = 3
)

// Codes of gRPC: the time of a call is over, a server has enough to do.
const (
	deadlineExceeded  = "4"
	resourceExhausted = "8"
)

// NewHistogram returns a histogram of microseconds.
func NewHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(shortest, longest, digits) }

// Result is what a run has found.
type Result struct {
	// Rate is the number of right answers a second, within the time of the run.
	Rate float64
	// Latency has the times of all right answers, and of the calls that were due
	// and not sent before the end as long as they had waited by then. In microseconds.
	Latency *hdrhistogram.Histogram
	// Unsent is the number of those, and of the calls that were due and not made because
	// their callers had as many under way as they may, see Target.Drop.
	Unsent int64
	// Refused is the number of calls that an overloaded server did not take
	// (RESOURCE_EXHAUSTED). Their times are not in Latency.
	Refused int64
	// Expired is the number of calls whose deadline has passed, and of those that had no
	// answer when the load was closed.
	Expired int64
	// Failed is the number of all other calls without a right answer, Failure one of
	// the reasons: a wrong answer, where there was one.
	Failed  int64
	Failure error
}

// recorder collects a result.
type recorder struct {
	mu       *sync.Mutex
	found    *Result
	deadline time.Duration // Of each call, or 0.
	inTime   int64
}

func newRecorder(deadline time.Duration) recorder {
	return recorder{mu: new(sync.Mutex), found: &Result{Latency: NewHistogram()}, deadline: deadline}
}

func (r *recorder) record(latency time.Duration, inTime bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deadline > 0 && latency > r.deadline {
		r.found.Expired++
		return
	}
	if inTime {
		r.inTime++
	}
	recordTime(r.found.Latency, latency)
}

// abandon takes calls that are not sent any more.
func (r *recorder) abandon(calls []call, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range calls {
		r.found.Unsent++
		recordTime(r.found.Latency, now-c.at)
	}
}

// drop takes a call that is not made.
func (r *recorder) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found.Unsent++
}

func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := new(StatusError)
	hasStatus := errors.As(err, &status)
	switch {
	case hasStatus && status.Code == resourceExhausted:
		r.found.Refused++
	case hasStatus && status.Code == deadlineExceeded && r.deadline > 0, errors.Is(err, errClosed):
		r.found.Expired++
	default:
		r.found.Failed++
		if r.found.Failure == nil || !hasStatus && !errors.Is(err, ErrNoAnswer) {
			r.found.Failure = err
		}
	}
}

func (r *recorder) result(duration time.Duration) *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.found
	r.found = &Result{Latency: NewHistogram()} // Of what comes too late.
	found.Rate = float64(r.inTime) / duration.Seconds()
	return found
}

func recordTime(h *hdrhistogram.Histogram, t time.Duration) {
	// The value is within the bounds of the histogram, so there is no error.
	_ = h.RecordValue(min(max(t.Microseconds(), shortest), longest))
}
