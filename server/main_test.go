package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// private is part of everything personal that the tests submit: no error and no
// log may hold it.
const private = "hush"

func testEmail(i int) string { return fmt.Sprintf("%s.%d@example.com", private, i) }

func testName(i int) string { return fmt.Sprintf("Ada %s %d", private, i) }

func newUserRequest(i int) *userv1.CreateUserRequest {
	return &userv1.CreateUserRequest{Email: testEmail(i), DisplayName: testName(i), Roles: []string{"reader"}}
}

// fill puts users into a store and returns their ids, in the order of the list.
func fill(tb testing.TB, s store.Store, count int) []string {
	tb.Helper()
	users := make([]store.NewUser, count)
	ids := make([]string, count)
	for i := range users {
		ids[i] = uuid.NewString()
		users[i] = store.NewUser{ID: ids[i], Email: testEmail(i), DisplayName: testName(i)}
	}
	if _, err := s.Import(tb.Context(), users); err != nil {
		tb.Fatal(err)
	}
	return ids
}

func create(tb testing.TB, client userv1connect.UserServiceClient, req *userv1.CreateUserRequest) *userv1.User {
	tb.Helper()
	res, err := client.CreateUser(tb.Context(), req)
	if err != nil {
		tb.Fatal(err)
	}
	return res.GetUser()
}

// protocol is one way to call the service.
type protocol struct {
	name    string
	options []connecthttp.Option
}

func (p protocol) with(options ...connecthttp.Option) []connecthttp.Option {
	return append(slices.Clone(p.options), options...)
}

var (
	grpcBinary  = protocol{"grpc", []connecthttp.Option{connecthttp.WithGRPC()}}
	grpcJSON    = protocol{"grpc json", []connecthttp.Option{connecthttp.WithGRPC(), connecthttp.WithProtoJSON()}}
	grpcWeb     = protocol{"grpc-web", []connecthttp.Option{connecthttp.WithGRPCWeb()}}
	connectJSON = protocol{"connect json", []connecthttp.Option{connecthttp.WithProtoJSON()}}
	connectRPC  = protocol{"connect", nil}
)

// send calls the RPC that takes a message, and returns its error. A stream is
// read to its end.
func send(ctx context.Context, client userv1connect.UserServiceClient, message proto.Message) error {
	var err error
	switch req := message.(type) {
	case *userv1.GetUserRequest:
		_, err = client.GetUser(ctx, req)
	case *userv1.ListUsersRequest:
		_, _, err = list(ctx, client, req)
	case *userv1.CreateUserRequest:
		_, err = client.CreateUser(ctx, req)
	case *userv1.UpdateUserRequest:
		_, err = client.UpdateUser(ctx, req)
	case *userv1.DeleteUserRequest:
		_, err = client.DeleteUser(ctx, req)
	case *userv1.RecordLoginRequest:
		_, err = client.RecordLogin(ctx, req)
	case *userv1.BatchGetUsersRequest:
		_, err = client.BatchGetUsers(ctx, req)
	case *userv1.GetUserByExternalIdRequest:
		_, err = client.GetUserByExternalId(ctx, req)
	case *userv1.GetUserByEmailRequest:
		_, err = client.GetUserByEmail(ctx, req)
	case *userv1.SearchUsersRequest:
		_, err = client.SearchUsers(ctx, req)
	case *userv1.WatchUsersRequest:
		err = watchToEnd(ctx, client, req)
	default:
		err = fmt.Errorf("no RPC takes a %T", message)
	}
	return err
}

// list reads a ListUsers stream to its end, and returns the users and the token of
// the next page.
func list(ctx context.Context, client userv1connect.UserServiceClient, req *userv1.ListUsersRequest) (users []*userv1.User, next string, err error) {
	ctx, call := connect.NewClientContext(ctx)
	stream, err := client.ListUsers(ctx, req)
	if err != nil {
		return nil, "", err
	}
	defer stream.Close()
	for {
		user, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return users, call.ResponseTrailer().Get("next-page-token"), nil
		}
		if err != nil {
			return users, "", err
		}
		users = append(users, user)
	}
}

func watchToEnd(ctx context.Context, client userv1connect.UserServiceClient, req *userv1.WatchUsersRequest) error {
	stream, err := client.WatchUsers(ctx, req)
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		if _, err := stream.Receive(); err != nil {
			return err
		}
	}
}

func ids(users []*userv1.User) []string {
	ids := make([]string, len(users))
	for i, user := range users {
		ids[i] = user.GetId()
	}
	return ids
}

// failure is what a caller learns from an error.
type failure struct {
	code   connect.Code
	reason userv1.Reason
	field  string // Of the only violation in the BadRequest; empty for none.
	rule   string // The reason of the violation.
}

// checkError checks that err is the failure that is wanted, in the form that the
// schema promises, and that it tells nothing private.
func checkError(tb testing.TB, err error, want failure) {
	tb.Helper()
	authored := new(connect.Error)
	if !errors.As(err, &authored) {
		tb.Fatalf("error is %v, want %v %v", err, want.code, want.reason)
	}
	if authored.Code() != want.code {
		tb.Fatalf("error is %v, want %v %v", err, want.code, want.reason)
	}
	if !authored.IsRemote() {
		tb.Error("error is the client's own")
	}
	if authored.Message() == "" {
		tb.Error("error has no text")
	}
	checkInfo(tb, details[*errdetails.ErrorInfo](tb, authored), want.reason)
	checkViolation(tb, details[*errdetails.BadRequest](tb, authored), want)
	checkPrivate(tb, authored)
}

func checkInfo(tb testing.TB, infos []*errdetails.ErrorInfo, want userv1.Reason) {
	tb.Helper()
	info := &errdetails.ErrorInfo{Domain: "user.v1", Reason: strings.TrimPrefix(want.String(), "REASON_")}
	if diff := cmp.Diff([]*errdetails.ErrorInfo{info}, infos, protocmp.Transform()); diff != "" {
		tb.Errorf("ErrorInfo (-want +got):\n%s", diff)
	}
}

// saysWhatIsRight is for descriptions of violations, which are read by people.
var saysWhatIsRight = regexp.MustCompile(`^((a name |a value |each )?must (be|have|contain|not|name|say) |there is no such field|another user has |a user can have )`)

func checkViolation(tb testing.TB, requests []*errdetails.BadRequest, want failure) {
	tb.Helper()
	if want.field == "" {
		if len(requests) > 0 {
			tb.Errorf("error names fields: %v", requests)
		}
		return
	}
	if len(requests) != 1 || len(requests[0].GetFieldViolations()) != 1 {
		tb.Fatalf("BadRequest is %v, want one violation of %s", requests, want.field)
	}
	violation := requests[0].GetFieldViolations()[0]
	if violation.GetField() != want.field || violation.GetReason() != want.rule {
		tb.Errorf("violation is %s of %s, want %s of %s", violation.GetReason(), violation.GetField(), want.rule, want.field)
	}
	if text := violation.GetDescription(); !saysWhatIsRight.MatchString(text) {
		tb.Errorf("violation is described as %q", text)
	}
}

// checkPrivate checks that neither the text nor the details of an error hold what
// the caller has submitted.
func checkPrivate(tb testing.TB, err *connect.Error) {
	tb.Helper()
	texts := []string{err.Message()}
	for _, detail := range err.Details() {
		texts = append(texts, string(detail.Value), string(detail.Debug))
	}
	for _, text := range texts {
		if strings.Contains(strings.ToLower(text), private) {
			tb.Errorf("error holds something private: %q", text)
		}
	}
}

// details are the details of one type.
func details[M proto.Message](tb testing.TB, err *connect.Error) []M {
	tb.Helper()
	var found []M
	for _, detail := range err.Details() {
		message, err := connectproto.UnmarshalErrorDetail(detail)
		if err != nil {
			tb.Fatal(err)
		}
		if match, ok := message.(M); ok {
			found = append(found, match)
		}
	}
	return found
}

// roundTripper changes requests on their way.
type roundTripper struct {
	next   http.RoundTripper
	change func(*http.Request)
}

func (r roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	r.change(req)
	return r.next.RoundTrip(req)
}

// changing is an HTTP client that changes each request before it sends it.
func changing(client *http.Client, change func(*http.Request)) *http.Client {
	return &http.Client{Transport: roundTripper{client.Transport, change}}
}

// encode is wire.EncodeUser for users that are valid.
func encode(user store.User) []byte {
	data, err := wire.EncodeUser(user)
	if err != nil {
		panic(err)
	}
	return data
}
