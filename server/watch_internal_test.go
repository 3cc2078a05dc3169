package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/store"
)

// quietStore has no changes. Its Wait returns early after wake.
type quietStore struct {
	store.Store
	wake time.Duration
}

func (quietStore) Head(context.Context) (store.Cursor, error) { return "here", nil }

func (quietStore) Changes(_ context.Context, after store.Cursor, _ int) ([]store.Change, store.Cursor, error) {
	return nil, after, nil
}

func (q quietStore) Wait(ctx context.Context, _ store.Cursor) error {
	select {
	case <-time.After(q.wake):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestWatchHeartbeat(t *testing.T) {
	for name, wake := range map[string]time.Duration{
		"nothing happens":           time.Hour,
		"changes without an effect": 7 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rpc := connect.NewServer()
				userv1connect.RegisterUserServiceHandler(rpc, &users{store: quietStore{wake: wake}, running: t.Context()})
				client := userv1connect.NewUserServiceClient(connect.NewClient(connectinprocess.New(rpc)))
				stream, err := client.WatchUsers(t.Context(), &userv1.WatchUsersRequest{})
				if err != nil {
					t.Fatal(err)
				}
				defer stream.Close()
				start := time.Now()
				for i := range time.Duration(4) {
					message, err := stream.Receive()
					if err != nil {
						t.Fatal(err)
					}
					if len(message.GetEvents()) > 0 || message.GetCursor() != "here" {
						t.Errorf("message %d is %v", i, message)
					}
					if after := time.Since(start); after != i*watchInterval {
						t.Errorf("message %d comes after %v, want %v", i, after, i*watchInterval)
					}
				}
			})
		})
	}
}

// deadlines records the write deadlines of a connection.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(deadline time.Time) error {
	d.set = append(d.set, deadline)
	return nil
}

// stuckStream takes a time for each message, and fails at the deadline.
type stuckStream struct {
	connect.ServerStream
	deadlines *deadlines
	takes     time.Duration
}

func (s *stuckStream) Send(any) error {
	deadline := s.deadlines.set[len(s.deadlines.set)-1]
	if left := time.Until(deadline); left < s.takes {
		time.Sleep(left)
		return fmt.Errorf("write: %w", os.ErrDeadlineExceeded)
	}
	time.Sleep(s.takes)
	return nil
}

func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deadlines := &deadlines{ResponseWriter: httptest.NewRecorder()}
		stuck := &stuckStream{deadlines: deadlines, takes: sendTimeoutRenewal - 1}
		stream := &readStream{ServerStream: stuck, controller: http.NewResponseController(deadlines)}
		start := time.Now()
		for range 20 { // A reader that is slow, but reads.
			if err := stream.Send(nil); err != nil {
				t.Fatal(err)
			}
		}
		if renewals := len(deadlines.set); renewals != 10 {
			t.Errorf("deadline is set %d times in %v", renewals, time.Since(start))
		}
		stuck.takes = time.Hour
		start = time.Now()
		if err := stream.Send(nil); !errors.Is(err, errSlowConsumer) {
			t.Errorf("error is %v, want %v", err, errSlowConsumer)
		}
		if waited := time.Since(start); waited > sendTimeout || waited <= sendTimeout-sendTimeoutRenewal {
			t.Errorf("stream ends after %v", waited)
		}
	})
}

// A stream that ends for another reason keeps it.
func TestSendFailure(t *testing.T) {
	t.Parallel()
	gone := errors.New("connection reset")
	stream := &readStream{
		ServerStream: failingStream{err: gone},
		controller:   http.NewResponseController(&deadlines{ResponseWriter: httptest.NewRecorder()}),
	}
	if err := stream.Send(nil); !errors.Is(err, gone) || errors.Is(err, errSlowConsumer) {
		t.Errorf("error is %v, want %v", err, gone)
	}
}

type failingStream struct {
	connect.ServerStream
	err error
}

func (s failingStream) Send(any) error { return s.err }
