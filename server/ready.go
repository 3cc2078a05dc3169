package server

import (
	"context"
	"errors"
	"sync"

	"github.com/example/userd/server/failure"
)

// readiness finds out whether the store answers. Probes need no credentials, and the few
// connections with which it is asked keep the cache trusted and the watchers told, too. So it is
// asked once at a time: those who come meanwhile share the next time.
type readiness struct {
	ping func(context.Context) error
	turn chan struct{} // Whoever asks puts an element.

	mu   sync.Mutex
	next *question // Of those who wait for the turn, or nil.
}

// question is one to the store, with its answer.
type question struct {
	answered chan struct{}
	err      error
}

func newReadiness(ping func(context.Context) error) *readiness {
	return &readiness{ping: ping, turn: make(chan struct{}, 1)}
}

// look returns what the store answers from now on.
func (r *readiness) look(ctx context.Context) error {
	q, first := r.join()
	if first {
		r.ask(ctx, q)
	}
	select {
	case <-q.answered:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join returns the question that is asked next, and whether it is for the caller to ask it.
func (r *readiness) join() (q *question, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		return r.next, false
	}
	r.next = &question{answered: make(chan struct{}), err: errors.New("ping of the store panicked")}
	return r.next, true
}

// ask asks when the question before is answered. It does not end with its caller: others wait
// for it.
func (r *readiness) ask(ctx context.Context, q *question) {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	r.mu.Lock()
	r.next = nil
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	defer close(q.answered)
	q.err = r.ping(ctx)
}

// isReady returns nil when the server can answer calls.
func (s *Server) isReady(ctx context.Context) error {
	if s.ready.Err() != nil {
		return failure.ErrDraining
	}
	if !s.config.Audit.Ready() {
		return failure.ErrNoAudit
	}
	return s.answers.look(ctx)
}
