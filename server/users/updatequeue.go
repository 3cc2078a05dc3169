package users

import (
	"sync"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
)

// maxUpdateGroup is the most messages of an update stream that wait for one commit.
const maxUpdateGroup = 256

// updateGroup is consecutive messages of an update stream: updates, and those that cannot
// be one.
type updateGroup struct {
	updates  []store.Update
	refusals []*userv1.UserUpdateResponse // Of each message; nil for an update.
	answer   wire.UpdatedUser
}

// updateGroups are groups that were answered, and are used again.
var updateGroups = sync.Pool{New: func() any { return new(updateGroup) }}

// release lets go of a group that was answered.
func (g *updateGroup) release() {
	clear(g.updates) // Their texts are not kept.
	clear(g.refusals)
	g.updates, g.refusals = g.updates[:0], g.refusals[:0]
	updateGroups.Put(g)
}

// updateQueue is what of an update stream was received and is not being applied. One
// goroutine adds to it, another one takes all there is.
type updateQueue struct {
	mu      sync.Mutex
	changed sync.Cond
	waiting *updateGroup // Nil for nothing.
	ended   bool         // The stream has, with err.
	err     error
	closed  bool // Nobody takes anything any more.
}

func newUpdateQueue() *updateQueue {
	q := new(updateQueue)
	q.changed.L = &q.mu
	return q
}

// add queues an update. It returns false when nobody will take it.
func (q *updateQueue) add(update store.Update) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.makeRoom() {
		return false
	}
	q.waiting.updates = append(q.waiting.updates, update)
	q.noteMessage(nil)
	return true
}

// refuse queues the answer to a message that cannot be an update.
func (q *updateQueue) refuse(answer *userv1.UserUpdateResponse) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.makeRoom() {
		return false
	}
	q.noteMessage(answer)
	return true
}

// makeRoom waits until a message can be added. q.mu is held.
func (q *updateQueue) makeRoom() bool {
	for q.waiting != nil && len(q.waiting.refusals) >= maxUpdateGroup && !q.closed {
		q.changed.Wait()
	}
	if q.waiting == nil {
		q.waiting = updateGroups.Get().(*updateGroup)
	}
	return !q.closed
}

// noteMessage wakes who waits for the first message. q.mu is held.
func (q *updateQueue) noteMessage(refusal *userv1.UserUpdateResponse) {
	if q.waiting.refusals = append(q.waiting.refusals, refusal); len(q.waiting.refusals) == 1 {
		q.changed.Broadcast()
	}
}

// poll takes what waits, or nil for nothing.
func (q *updateQueue) poll() *updateGroup {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.take()
}

// wait takes what waits, when there is something. When nothing comes any more it returns nil
// and the error with which the stream has ended.
func (q *updateQueue) wait() (*updateGroup, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.waiting == nil && !q.ended {
		q.changed.Wait()
	}
	return q.take(), q.err
}

// take takes what waits. q.mu is held.
func (q *updateQueue) take() *updateGroup {
	group := q.waiting
	if group != nil && len(group.refusals) >= maxUpdateGroup {
		q.changed.Broadcast() // Who adds waits for room.
	}
	q.waiting = nil
	return group
}

// end says that nothing is added any more, since the stream has ended.
func (q *updateQueue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended, q.err = true, err
	q.changed.Broadcast()
}

// close says that nothing is taken any more.
func (q *updateQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}
