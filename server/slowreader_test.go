package server_test

import (
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// startImpatient starts a server with many users that gives up slow readers soon, and
// returns what waits until it has given one up.
func startImpatient(t *testing.T) (running *servertest.Server, awaitGivenUp func()) {
	t.Helper()
	logged := new(logBuffer)
	users := servertest.NewStore(t)
	fill(t, users, 5_000)
	running = servertest.Start(t, func(config *server.Config) {
		config.HTTP2, config.Store = server.Engine, users
		config.Logger, config.SendTimeout = logged.logger(), 100*time.Millisecond
	})
	return running, func() {
		for !strings.Contains(logged.String(), "code=resource_exhausted") {
			runtime.Gosched()
		}
	}
}

// A caller that stops to read its stream is told why it ends.
func TestSlowReaderIsTold(t *testing.T) {
	t.Parallel()
	const window = 64 << 10
	for name, options := range map[string][]connecthttp.Option{
		"gRPC": {connecthttp.WithGRPC()}, "gRPC-Web": {connecthttp.WithGRPCWeb()}, "Connect": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			running, awaitGivenUp := startImpatient(t)
			client := servertest.HTTP2(t)
			client.Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: window}
			stream, err := running.ClientOf(client, options...).ListUsers(t.Context(), &userv1.ListUsersRequest{All: true})
			if err != nil {
				t.Fatal(err)
			}
			awaitGivenUp()
			for err == nil {
				_, err = stream.Receive()
			}
			if name == "gRPC" { // The others would say it in a message, for which there is no room.
				checkError(t, err, failure{connect.CodeResourceExhausted, userv1.Reason_REASON_SLOW_CONSUMER, "", ""})
			} else if connect.CodeOf(err) != connect.CodeResourceExhausted {
				t.Errorf("the stream ends with %v", err)
			}
		})
	}
}

// The client of Google tells of a message that ends in the middle rather than of how the
// call has ended.
func TestSlowReaderWithGRPCGoIsTold(t *testing.T) {
	t.Parallel()
	running, awaitGivenUp := startImpatient(t)
	conn, err := grpc.NewClient(strings.TrimPrefix(running.URL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, userv1connect.UserServiceListUsersProcedure)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(&userv1.ListUsersRequest{All: true}), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	awaitGivenUp()
	read := 0
	for err = stream.RecvMsg(new(userv1.User)); err == nil; err = stream.RecvMsg(new(userv1.User)) {
		read++
	}
	if read == 0 || status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("after %d users the stream ends with %v", read, err)
	}
	var infos []*errdetails.ErrorInfo
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			infos = append(infos, info)
		}
	}
	checkInfo(t, infos, userv1.Reason_REASON_SLOW_CONSUMER)
}
