package admission

import (
	"context"
	"sync"
	"time"
)

// maxTurns is how many writes of one user wait, at most.
const maxTurns = 128

// turns lets the writes of one user begin one after the other. In the database they would
// wait for each other, and hold connections that others need.
type turns struct {
	mu    sync.Mutex
	users map[string]*turn
}

// turn is the writes of a user: callers share the time in which one of them can be under way.
type turn struct {
	*share
	writes int // That have the turn or wait for it.
}

// ofTurn are the limits of the one class of a turn. Its writes wait as long as their callers
// do, and are refused where there are more than the store can do when they have their turns.
var ofTurn = map[Class]limits{Write: {most: 1, room: maxTurns, patient: true}}

// begin returns when it is the turn of a write of a caller, or with ErrOverloaded or the
// context's error. One that has begun must end.
func (t *turns) begin(ctx context.Context, user, caller string) (end func(), err error) {
	mine := t.join(user)
	call, err := mine.begin(ctx, mine.queues[0], caller, time.Now(), false)
	if err != nil {
		t.leave(user, mine)
		return nil, err
	}
	return func() {
		mine.end(call)
		t.leave(user, mine)
	}, nil
}

func (t *turns) join(user string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.users[user]
	if mine == nil {
		mine = &turn{share: newShare(1, ofTurn)}
		t.users[user] = mine
	}
	mine.writes++
	return mine
}

func (t *turns) leave(user string, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.writes--; mine.writes == 0 {
		delete(t.users, user)
	}
}
