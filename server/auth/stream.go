package auth

import (
	"sync"
	"time"
)

// expiryInterval is the longest time until the clock is asked again whether a stream's
// credentials have ended: it may be set, and timers stand still while the machine sleeps.
const expiryInterval = time.Minute

// stream is a call that may go on for longer than its credentials.
type stream struct {
	grant  *Grant
	need   Scope
	end    func()
	expiry *time.Timer    // Nil where the credentials do not end by themselves.
	ending sync.WaitGroup // While end runs.
}

// Follow calls end, on a goroutine of its own, when a call is not to go on because its
// caller is not let in any more. What it returns must be called when the call has ended;
// end does not run after that.
func (a *Authorizer) Follow(grant *Grant, need Scope, end func()) (stop func()) {
	s := &stream{grant: grant, need: need, end: end}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams[s] = struct{}{}
	if grant.credential.until != 0 {
		s.expiry = time.AfterFunc(s.untilLook(), func() { a.expire(s) })
	}
	a.check(s) // There may be other principals since the grant.
	return func() { a.leave(s) }
}

// untilLook is how long a stream goes on until its credentials are looked at again.
func (s *stream) untilLook() time.Duration {
	return min(time.Until(time.Unix(s.grant.credential.until, 0)), expiryInterval)
}

// expire ends a stream whose credentials have ended, or looks again later.
func (a *Authorizer) expire(s *stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, goesOn := a.streams[s]; !goesOn {
		return
	}
	if a.check(s) {
		s.expiry.Reset(s.untilLook())
	}
}

// leave is that a call has ended.
func (a *Authorizer) leave(s *stream) {
	a.mu.Lock()
	delete(a.streams, s)
	if s.expiry != nil {
		s.expiry.Stop()
	}
	a.mu.Unlock()
	s.ending.Wait()
}

// endStreams ends the streams that the principals of now may not have.
func (a *Authorizer) endStreams() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.streams {
		a.check(s)
	}
}

// check ends a stream that its caller may not have, and returns whether it goes on. The end of
// one may have to wait for its connection, which must not keep the others going. a.mu is held.
func (a *Authorizer) check(s *stream) (goesOn bool) {
	principal := a.callers.Load().find(&s.grant.credential)
	if principal != nil && principal.May(s.need) && !s.grant.credential.expired(time.Now().Unix()) {
		return true
	}
	delete(a.streams, s)
	s.ending.Go(s.end)
	return false
}
