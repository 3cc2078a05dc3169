package users

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

func (s *importStore) UpdateMany(_ context.Context, updates []store.Update) ([]store.Updated, error) {
	s.imports = append(s.imports, len(updates))
	outcomes := make([]store.Updated, len(updates))
	for i := range outcomes {
		outcomes[i].Err = store.ErrNotFound
	}
	return outcomes, nil
}

// answersStream is a stream of which only the reasons in its answers matter.
type answersStream struct {
	connect.ServerStream
	reasons []userv1.Reason
}

func (s *answersStream) Send(msg any) error {
	s.reasons = append(s.reasons, msg.(*userv1.UserUpdateResponse).GetReason())
	return nil
}

func TestGroupsOfUpdatesHaveNoMoreThanTheStoreTakes(t *testing.T) {
	t.Parallel()
	for rows, want := range map[int][]int{0: {5}, 2: {2, 2, 1}, 9: {5}} {
		s := &importStore{rows: rows}
		service := &Service{Config: Config{Store: s}}
		queue := newUpdateQueue()
		for n := range 5 {
			queue.add(store.Update{})
			if n == 2 {
				queue.refuse(&userv1.UserUpdateResponse{Reason: userv1.Reason_REASON_EMAIL_TAKEN})
			}
		}
		stream := new(answersStream)
		if err := service.applyGroup(t.Context(), stream, queue.poll()); err != nil || !slices.Equal(s.imports, want) {
			t.Errorf("where the store takes %d rows, it gets %v, error %v, want %v", rows, s.imports, err, want)
		}
		answers := slices.Repeat([]userv1.Reason{userv1.Reason_REASON_USER_NOT_FOUND}, 6)
		answers[3] = userv1.Reason_REASON_EMAIL_TAKEN
		if !slices.Equal(stream.reasons, answers) {
			t.Errorf("where the store takes %d rows, the answers are %v, want %v", rows, stream.reasons, answers)
		}
	}
}

func TestUpdateQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue := newUpdateQueue()
		added := 0
		go func() {
			for queue.add(store.Update{}) {
				added++
			}
		}()
		for groups := 1; groups < 4; groups++ {
			synctest.Wait()
			if added != groups*maxUpdateGroup {
				t.Errorf("%d updates are queued before group %d is taken, want %d", added, groups, groups*maxUpdateGroup)
			}
			if group := queue.poll(); len(group.updates) != maxUpdateGroup {
				t.Errorf("a group has %d updates, want %d", len(group.updates), maxUpdateGroup)
			}
		}
		synctest.Wait()
		queue.close() // Or the goroutine would not end.
	})
}

func TestUpdateQueueEndsWithItsStream(t *testing.T) {
	t.Parallel()
	queue := newUpdateQueue()
	queue.add(store.Update{ID: "last"})
	queue.end(io.ErrUnexpectedEOF)
	if group, _ := queue.wait(); group == nil || group.updates[0].ID != "last" {
		t.Errorf("the last group is %v", group)
	}
	if group, err := queue.wait(); group != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the last group there is %v, error %v", group, err)
	}
}
