package userv1errors_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1errors"
	"github.com/example/userd/server/servertest"
)

// Every kind of client learns the reason from a real server.
func TestReasonFromServer(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, nil)
	request := &userv1.DeleteUserRequest{UserId: "00000000-0000-4000-8000-000000000000"}
	for name, options := range map[string][]connecthttp.Option{
		"Connect": nil, "gRPC": {connecthttp.WithGRPC()}, "gRPC-Web": {connecthttp.WithGRPCWeb()},
	} {
		_, err := s.Client(t, options...).DeleteUser(t.Context(), request)
		checkReason(t, name, err, userv1.Reason_REASON_USER_NOT_FOUND)
	}
	conn, err := grpc.NewClient(strings.TrimPrefix(s.URL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Invoke(t.Context(), "/user.v1.UserService/DeleteUser", request, new(userv1.DeleteUserResponse))
	checkReason(t, "grpc-go", err, userv1.Reason_REASON_USER_NOT_FOUND)
}

func checkReason(t *testing.T, name string, err error, want userv1.Reason) {
	t.Helper()
	for _, err := range []error{err, fmt.Errorf("delete: %w", err)} {
		if got := userv1errors.Reason(err); got != want {
			t.Errorf("%s: the reason of %v is %v, not %v", name, err, got, want)
		}
	}
}

func TestOthersHaveNoReason(t *testing.T) {
	t.Parallel()
	elsewhere := &errdetails.ErrorInfo{Domain: "example.com", Reason: "USER_NOT_FOUND"}
	newer := &errdetails.ErrorInfo{Domain: "user.v1", Reason: "NOT_THOUGHT_OF_YET"}
	for _, err := range []error{
		nil, errors.New("other"), connect.NewError(connect.CodeInternal, "other"), status.Error(codes.Internal, "other"),
		withDetail(t, elsewhere), withDetail(t, newer),
	} {
		checkReason(t, "other", err, userv1.Reason_REASON_UNSPECIFIED)
		if _, ok := userv1errors.RetryDelay(err); ok {
			t.Errorf("%v has a delay", err)
		}
	}
}

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	info := &errdetails.RetryInfo{RetryDelay: durationpb.New(250 * time.Millisecond)}
	s, err := status.New(codes.ResourceExhausted, "busy").WithDetails(info)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{withDetail(t, info), s.Err()} {
		if delay, ok := userv1errors.RetryDelay(err); !ok || delay != 250*time.Millisecond {
			t.Errorf("%v: %v, %v", err, delay, ok)
		}
	}
}

func withDetail(t *testing.T, message proto.Message) error {
	t.Helper()
	detail, err := connectproto.NewErrorDetail(message)
	if err != nil {
		t.Fatal(err)
	}
	return connect.NewError(connect.CodeResourceExhausted, "busy").WithDetail(detail)
}
