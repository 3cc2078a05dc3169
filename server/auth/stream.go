package auth

import (
	"sync"
	"time"
)

// stream is a call that may go on for longer than its credentials.
type stream struct {
	grant  *Grant
	need   Scope
	end    func()
	ending sync.WaitGroup // While end runs.
}

// Follow calls end, on a goroutine of its own, when a call is not to go on because its
// caller is not let in any more. What it returns must be called when the call has ended;
// end does not run after that.
func (a *Authorizer) Follow(grant *Grant, need Scope, end func()) (stop func()) {
	s := &stream{grant: grant, need: need, end: end}
	a.mu.Lock()
	a.streams[s] = struct{}{}
	a.check(s) // There may be other principals since the grant.
	a.mu.Unlock()
	var expiry *time.Timer
	if until := grant.credential.until; until != 0 {
		expiry = time.AfterFunc(time.Until(time.Unix(until, 0)), a.endStreams)
	}
	return func() {
		if expiry != nil {
			expiry.Stop()
		}
		a.mu.Lock()
		delete(a.streams, s)
		a.mu.Unlock()
		s.ending.Wait()
	}
}

// endStreams ends the streams that the principals of now may not have.
func (a *Authorizer) endStreams() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.streams {
		a.check(s)
	}
}

// check ends a stream that its caller may not have. The end of one may have to wait for its
// connection, which must not keep the others going. a.mu is held.
func (a *Authorizer) check(s *stream) {
	principal := a.callers.Load().find(&s.grant.credential)
	if principal == nil || !principal.May(s.need) || s.grant.credential.expired(time.Now().Unix()) {
		delete(a.streams, s)
		s.ending.Go(s.end)
	}
}
