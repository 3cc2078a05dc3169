package admission

import (
	"context"
	"sync"

	"github.com/example/userd/store"
)

// maxTurns is how many writes of one user wait, at most.
const maxTurns = 128

// turns lets the writes of one user begin one after the other. In the database they would
// wait for each other, and hold connections that others need.
type turns struct {
	mu    sync.Mutex
	users map[string]*turn
}

// turn is the writes of a user.
type turn struct {
	writes int           // That have the turn or wait for it.
	taken  chan struct{} // Holds one while a write has the turn.
}

// begin returns when it is the turn of a write, or with ErrOverloaded or the context's
// error. One that has begun must end.
func (t *turns) begin(ctx context.Context, user string) error {
	mine, err := t.join(user)
	if err != nil {
		return err
	}
	select {
	case mine.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		t.leave(user, mine)
		return ctx.Err()
	}
}

func (t *turns) join(user string) (*turn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.users[user]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.users[user] = mine
	}
	if mine.writes > maxTurns {
		return nil, store.ErrOverloaded
	}
	mine.writes++
	return mine, nil
}

func (t *turns) end(user string) {
	t.mu.Lock()
	mine := t.users[user]
	t.mu.Unlock()
	<-mine.taken
	t.leave(user, mine)
}

func (t *turns) leave(user string, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.writes--; mine.writes == 0 {
		delete(t.users, user)
	}
}
