package server_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

// retryPolicy is what a client of gRPC is told once, instead of trying again by itself.
const retryPolicy = `{"methodConfig": [{"name": [{"service": "user.v1.UserService"}], "retryPolicy": {
	"maxAttempts": 2, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
	"retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// retryingClient is grpc-go with this policy.
func retryingClient(t *testing.T, running *servertest.Server) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(running.URL, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(retryPolicy))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// failingOnce is a server whose store fails the first call of a method. It counts them.
func failingOnce(t *testing.T, transport server.Transport, method string) (*servertest.Server, *atomic.Int64) {
	t.Helper()
	calls := new(atomic.Int64)
	before := func(_ context.Context, called string) error {
		if called == method && calls.Add(1) == 1 {
			return store.ErrUnavailable
		}
		return nil
	}
	return startFaulty(t, before, func(config *server.Config) { config.HTTP2 = transport }), calls
}

// Clients of gRPC send again what fails before anything of its answer has come, as their policy
// tells them. grpc-go takes Trailers-Only for that alone, as gRFC A6 has it.
func TestPoliciesOfRetries(t *testing.T) {
	t.Parallel()
	large := &userv1.GetUserRequest{UserId: someID}
	large.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), make([]byte, 20<<10)))
	for name, test := range map[string]struct {
		procedure string
		message   proto.Message
		answer    proto.Message
		fails     string // In the store.
	}{
		"unary":                {userv1connect.UserServiceGetUserProcedure, &userv1.GetUserRequest{UserId: someID}, new(userv1.GetUserResponse), "Get"},
		"large unary":          {userv1connect.UserServiceGetUserProcedure, large, new(userv1.GetUserResponse), "Get"},
		"list":                 {userv1connect.UserServiceListUsersProcedure, &userv1.ListUsersRequest{All: true}, new(userv1.User), "List"},
		"watch from now":       {userv1connect.UserServiceWatchUsersProcedure, new(userv1.WatchUsersRequest), new(userv1.WatchUsersResponse), "Head"},
		"watch from the begin": {userv1connect.UserServiceWatchUsersProcedure, &userv1.WatchUsersRequest{Cursor: "earliest"}, new(userv1.WatchUsersResponse), "Changes"},
	} {
		for _, transport := range []server.Transport{server.Engine, server.Std} {
			t.Run(name+" over "+string(transport), func(t *testing.T) {
				t.Parallel()
				running, calls := failingOnce(t, transport, test.fails)
				fill(t, running.Store, 1)
				stream, err := retryingClient(t, running).NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, test.procedure)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(stream.SendMsg(test.message), stream.CloseSend()); err != nil {
					t.Fatal(err)
				}
				answer := proto.Clone(test.answer) // Subtests share it.
				if err := stream.RecvMsg(answer); err != nil || calls.Load() < 2 {
					t.Errorf("after %d calls of %s: %v", calls.Load(), test.fails, err)
				}
			})
		}
	}
}

// Streams of requests are not sent again by themselves: rows before those that failed may be stored.
func TestNoPolicySendsAnImportAgain(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		t.Run(string(transport), func(t *testing.T) {
			t.Parallel()
			running, calls := failingOnce(t, transport, "Import")
			stream, err := retryingClient(t, running).NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, userv1connect.UserServiceBatchCreateUsersProcedure)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.SendMsg(newUserRequest(1)); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			_ = stream.CloseSend() // RecvMsg tells.
			if err := stream.RecvMsg(new(userv1.BatchCreateUsersResponse)); status.Code(err) != codes.Unavailable || calls.Load() != 1 {
				t.Errorf("after %d imports: %v", calls.Load(), err)
			}
		})
	}
}
