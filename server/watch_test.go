package server_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

// watch starts to watch, and ends it with the test.
func watch(tb testing.TB, client userv1connect.UserServiceClient, cursor string) userv1connect.UserServiceWatchUsersClientStream {
	tb.Helper()
	stream, err := client.WatchUsers(tb.Context(), &userv1.WatchUsersRequest{Cursor: cursor})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = stream.Close() })
	return stream
}

func receive(tb testing.TB, stream userv1connect.UserServiceWatchUsersClientStream) *userv1.WatchUsersResponse {
	tb.Helper()
	message, err := stream.Receive()
	if err != nil {
		tb.Fatal(err)
	}
	return message
}

// receiveEvent is the only event of the next message that has any.
func receiveEvent(tb testing.TB, stream userv1connect.UserServiceWatchUsersClientStream) *userv1.UserEvent {
	tb.Helper()
	for {
		switch events := receive(tb, stream).GetEvents(); len(events) {
		case 0:
		case 1:
			return events[0]
		default:
			tb.Fatalf("events are %v, want one", events)
		}
	}
}

// subject is the user that an event is about, and the version that it is at then.
func subject(event *userv1.UserEvent) (id string, version int64) {
	if deleted := event.GetDeleted(); deleted != nil {
		return deleted.GetUserId(), deleted.GetVersion()
	}
	return event.GetUpserted().GetId(), event.GetUpserted().GetVersion()
}

func TestWatchFromNow(t *testing.T) {
	t.Parallel()
	for _, protocol := range []protocol{grpcBinary, grpcWeb, connectRPC, connectJSON} {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			client := servertest.Start(t, nil).Client(t, protocol.options...)
			create(t, client, newUserRequest(1))
			stream := watch(t, client, "")
			if first := receive(t, stream); len(first.GetEvents()) > 0 || first.GetCursor() == "" {
				t.Errorf("first message is %v, want a cursor only", first)
			}
			user := create(t, client, newUserRequest(2))
			if got := receiveEvent(t, stream).GetUpserted(); !proto.Equal(got, user) {
				t.Errorf("event is of %v, want %v", got, user)
			}
			deleted, err := client.DeleteUser(t.Context(), &userv1.DeleteUserRequest{UserId: user.GetId()})
			if err != nil {
				t.Fatal(err)
			}
			want := &userv1.DeletedUser{UserId: user.GetId(), Version: deleted.GetVersion()}
			if got := receiveEvent(t, stream).GetDeleted(); !proto.Equal(got, want) {
				t.Errorf("event is of %v, want %v", got, want)
			}
		})
	}
}

func TestWatchFromEarliest(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	const count = 1_100 // More than one message carries.
	want := fill(t, running.Store, count)
	if _, err := client.DeleteUser(t.Context(), &userv1.DeleteUserRequest{UserId: want[0]}); err != nil {
		t.Fatal(err)
	}
	stream := watch(t, client, "earliest")
	versions := make(map[string]int64)
	for versions[want[0]] != 2 {
		for _, event := range receive(t, stream).GetEvents() {
			id, version := subject(event)
			versions[id] = version
		}
	}
	for _, id := range want[1:] {
		if versions[id] != 1 {
			t.Fatalf("user %s is at version %d, want 1", id, versions[id])
		}
	}
}

// A watcher that reconnects again and again, while others write, misses nothing.
func TestWatchResumes(t *testing.T) {
	t.Parallel()
	client := servertest.Start(t, nil).Client(t, grpcBinary.options...)
	cursor := watchCursor(t, client)
	want := make(chan map[string]int64, 1)
	var writers errgroup.Group
	writers.Go(func() error {
		last, err := writeConcurrently(t.Context(), client)
		want <- last
		return err
	})
	seen := make(map[string]int64)
	for seen[lastID] == 0 {
		cursor = watchSome(t, client, cursor, seen)
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(<-want, seen); diff != "" {
		t.Errorf("last versions (-written +seen):\n%s", diff)
	}
}

// lastID is the user that is created after all other writes.
const lastID = "ffffffff-ffff-4fff-8fff-ffffffffffff"

// watchSome takes a few messages of a new stream into seen, which has the last
// version of each user, and returns the cursor of the last one.
func watchSome(tb testing.TB, client userv1connect.UserServiceClient, cursor string, seen map[string]int64) string {
	tb.Helper()
	stream := watch(tb, client, cursor)
	defer stream.Close()
	delivered := make(map[string]int64)
	for messages := 0; messages < 3 && seen[lastID] == 0; messages++ {
		message := receive(tb, stream)
		for _, event := range message.GetEvents() {
			id, version := subject(event)
			if version <= delivered[id] || version < seen[id] {
				tb.Errorf("user %s: version %d comes after %d in a stream and %d in all", id, version, delivered[id], seen[id])
			}
			delivered[id], seen[id] = version, version
		}
		cursor = message.GetCursor()
	}
	return cursor
}

// writeConcurrently creates, changes and deletes users, and returns the last
// version of each.
func writeConcurrently(ctx context.Context, client userv1connect.UserServiceClient) (map[string]int64, error) {
	const writers, users = 4, 15
	var writing errgroup.Group
	versions := make([]map[string]int64, writers)
	for w := range writers {
		versions[w] = make(map[string]int64)
		writing.Go(func() error {
			for i := range users {
				id, version, err := writeUser(ctx, client, w*users+i)
				if err != nil {
					return err
				}
				versions[w][id] = version
			}
			return nil
		})
	}
	if err := writing.Wait(); err != nil {
		return nil, err
	}
	last := map[string]int64{lastID: 1}
	for _, written := range versions {
		maps.Copy(last, written)
	}
	req := newUserRequest(-1)
	req.UserId = lastID
	_, err := client.CreateUser(ctx, req)
	return last, err
}

// writeUser creates a user, changes it, and deletes every third one.
func writeUser(ctx context.Context, client userv1connect.UserServiceClient, i int) (id string, version int64, err error) {
	created, err := client.CreateUser(ctx, newUserRequest(i))
	if err != nil {
		return "", 0, err
	}
	id = created.GetUser().GetId()
	for change := range 3 {
		updated, err := client.UpdateUser(ctx, &userv1.UpdateUserRequest{
			Update: &userv1.UserUpdate{UserId: id, DisplayName: proto.String(testName(change))},
		})
		if err != nil {
			return "", 0, err
		}
		version = updated.GetUser().GetVersion()
	}
	if i%3 > 0 {
		return id, version, nil
	}
	deleted, err := client.DeleteUser(ctx, &userv1.DeleteUserRequest{UserId: id})
	return id, deleted.GetVersion(), err
}

func TestWatchEndsWhenDraining(t *testing.T) {
	t.Parallel()
	for _, protocol := range []protocol{grpcBinary, connectJSON} {
		t.Run(protocol.name, func(t *testing.T) {
			t.Parallel()
			running := servertest.Start(t, nil)
			stream := watch(t, running.Client(t, protocol.options...), "")
			receive(t, stream)
			if err := running.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err := stream.Receive()
			checkError(t, err, failure{code: connect.CodeUnavailable, reason: userv1.Reason_REASON_UNAVAILABLE})
		})
	}
}

// What a watcher has received before the store fails is enough to go on.
func TestWatchStoreFailure(t *testing.T) {
	t.Parallel()
	running := startFaulty(t, failSecond("Changes", func(context.Context) error { return store.ErrUnavailable }))
	stream := watch(t, running.Client(t, grpcBinary.options...), "")
	receive(t, stream)
	_, err := stream.Receive()
	checkError(t, err, failure{code: connect.CodeUnavailable, reason: userv1.Reason_REASON_UNAVAILABLE})
}

func TestWatchExpiredCursor(t *testing.T) {
	t.Parallel()
	running := servertest.Start(t, nil)
	client := running.Client(t, grpcBinary.options...)
	cursor, err := running.Store.Head(t.Context()) // A watcher could keep what comes after it.
	if err != nil {
		t.Fatal(err)
	}
	fill(t, running.Store, 3)
	if _, err := running.Store.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	_, err = watch(t, client, string(cursor)).Receive()
	checkError(t, err, failure{code: connect.CodeOutOfRange, reason: userv1.Reason_REASON_CURSOR_EXPIRED})
}
