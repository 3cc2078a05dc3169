package main

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// hanging is a server whose first list hangs, and then its second watch behind the first message.
type hanging struct {
	userv1connect.UnimplementedUserServiceHandler
	stop func() // Called when the third watch begins.

	mu      sync.Mutex
	cursors []string // That watches began at.
}

// watches is how many watches have begun.
func (h *hanging) watches() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.cursors)
}

func (h *hanging) WatchUsers(ctx context.Context, request *userv1.WatchUsersRequest, stream userv1connect.UserServiceWatchUsersServerStream) error {
	h.mu.Lock()
	h.cursors = append(h.cursors, request.GetCursor())
	h.mu.Unlock()
	if h.watches() == 3 {
		h.stop()
	} else if err := stream.Send(&userv1.WatchUsersResponse{Cursor: "one"}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (h *hanging) ListUsers(ctx context.Context, _ *userv1.ListUsersRequest, _ userv1connect.UserServiceListUsersServerStream) error {
	if h.watches() == 1 {
		<-ctx.Done()
	}
	return ctx.Err()
}

func TestFollowerGivesUpSilentStreams(t *testing.T) {
	t.Parallel()
	cursor := filepath.Join(t.TempDir(), "cursor")
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		service := &hanging{stop: stop}
		server := connect.NewServer()
		userv1connect.RegisterUserServiceHandler(server, service)
		f := follower{
			users: userv1connect.NewUserServiceClient(connect.NewClient(connectinprocess.New(server))), cursor: cursor,
			listed: func(time.Time) error { return nil },
		}
		began := time.Now()
		if err := f.run(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 2*maxSilence || took > 3*maxSilence {
			t.Errorf("two silent streams took %v", took)
		}
		if want := []string{"", "", "one"}; !slices.Equal(service.cursors, want) {
			t.Errorf("watches began at %q, not %q", service.cursors, want)
		}
	})
}
