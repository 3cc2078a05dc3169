package load

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Streams makes streaming calls as [Generator] makes unary ones: in a closed or an open
// loop.
type Streams struct {
	// Call makes call n and returns when it has ended, with what is wrong with its answer.
	Call func(s *Session, n int) error
	// Ramp is how long the answers at the start of a run do not count for its rate.
	Ramp time.Duration

	deadline time.Duration
	sessions []*Session
	idle     chan *Session // One for each call that may be begun.
	calls    atomic.Int64
}

// DialStreams connects to a server, for this many calls at a time on each connection. A
// call may take as long as the deadline, or as it likes where that is 0. Callers are known by
// the token, or have none where that is "".
func DialStreams(address string, connections, streams int, token string, deadline time.Duration) (*Streams, error) {
	s := &Streams{deadline: deadline, idle: make(chan *Session, connections*streams)}
	for range connections {
		session, err := DialSession(address, 0)
		if err != nil {
			s.Close()
			return nil, err
		}
		session.SetCaller(token, deadline)
		s.sessions = append(s.sessions, session)
	}
	for range streams {
		for _, session := range s.sessions {
			s.idle <- session
		}
	}
	return s, nil
}

// Close closes the connections.
func (s *Streams) Close() {
	for _, session := range s.sessions {
		session.Close()
	}
}

// Closed keeps as many calls under way as there may be, see [Generator.Closed].
func (s *Streams) Closed(duration time.Duration) *Result {
	p := newPhase(duration, s.Ramp, s.deadline)
	for range cap(s.idle) {
		p.pending.Add(1)
		go s.callAgain(p)
	}
	p.finish(1)
	p.await()
	return p.result(p.end - p.ramped)
}

// callAgain makes one call after the other.
func (s *Streams) callAgain(p *phase) {
	defer p.finish(1)
	session := <-s.idle
	defer func() { s.idle <- session }()
	for now := clock(); now < p.end && !session.gone(); now = clock() {
		err := s.call(p, session, now)
		time.Sleep(min(RetryDelay(err), p.end-clock()))
	}
}

// call makes one call that was due at a time.
func (s *Streams) call(p *phase, session *Session, at time.Duration) error {
	err := s.Call(session, int(s.calls.Add(1)))
	p.answered(at, clock(), err)
	return err
}

// Open makes calls at a rate, whatever the server makes of it, see [Generator.Open]. A
// call that is due when no more may be under way is not made.
func (s *Streams) Open(rate float64, duration time.Duration) (*Result, error) {
	p := newPhase(duration, s.Ramp, s.deadline)
	for at := p.begun; at < p.end; at += time.Duration(rand.ExpFloat64() / rate * float64(time.Second)) {
		time.Sleep(at - clock())
		select {
		case session := <-s.idle:
			p.pending.Add(1)
			go func() {
				defer p.finish(1)
				_ = s.call(p, session, at) // It is recorded.
				s.idle <- session
			}()
		default:
			p.drop()
		}
	}
	p.finish(1)
	p.await()
	return p.result(p.end - p.ramped), nil
}
