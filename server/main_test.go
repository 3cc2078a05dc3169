package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
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

// newUsers are users for a store, the first of them number from.
func newUsers(from, count int) []store.NewUser {
	users := make([]store.NewUser, count)
	for i := range users {
		users[i] = store.NewUser{ID: uuid.NewString(), Email: testEmail(from + i), DisplayName: testName(from + i)}
	}
	return users
}

// fill puts users into a store and returns their ids, in the order of the list.
func fill(tb testing.TB, s store.Store, count int) []string {
	tb.Helper()
	const chunk = 5_000
	ids := make([]string, 0, count)
	for len(ids) < count {
		users := newUsers(len(ids), min(chunk, count-len(ids)))
		if _, err := s.Import(tb.Context(), users); err != nil {
			tb.Fatal(err)
		}
		for _, user := range users {
			ids = append(ids, user.ID)
		}
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

// answers are the protocols whose errors are told apart byte by byte.
var answers = []protocol{grpcBinary, connectJSON}

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
	if violation.GetDescription() == "" {
		tb.Error("violation has no description")
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

// faultyStore is a store whose calls can be made to fail or to wait.
type faultyStore struct {
	store.Store
	before func(ctx context.Context, method string) error
}

func (f *faultyStore) Create(ctx context.Context, user store.NewUser) (store.User, error) {
	if err := f.before(ctx, "Create"); err != nil {
		return store.User{}, err
	}
	return f.Store.Create(ctx, user)
}

func (f *faultyStore) Import(ctx context.Context, users []store.NewUser) ([]store.Created, error) {
	if err := f.before(ctx, "Import"); err != nil {
		return nil, err
	}
	return f.Store.Import(ctx, users)
}

func (f *faultyStore) Get(ctx context.Context, id string) (store.User, error) {
	if err := f.before(ctx, "Get"); err != nil {
		return store.User{}, err
	}
	return f.Store.Get(ctx, id)
}

func (f *faultyStore) GetMany(ctx context.Context, ids []string) ([]store.User, error) {
	if err := f.before(ctx, "GetMany"); err != nil {
		return nil, err
	}
	return f.Store.GetMany(ctx, ids)
}

func (f *faultyStore) GetByEmail(ctx context.Context, email string) (store.User, error) {
	if err := f.before(ctx, "GetByEmail"); err != nil {
		return store.User{}, err
	}
	return f.Store.GetByEmail(ctx, email)
}

func (f *faultyStore) List(ctx context.Context, query store.Query) ([]store.User, error) {
	if err := f.before(ctx, "List"); err != nil {
		return nil, err
	}
	return f.Store.List(ctx, query)
}

func (f *faultyStore) Update(ctx context.Context, update store.Update) (store.User, error) {
	if err := f.before(ctx, "Update"); err != nil {
		return store.User{}, err
	}
	return f.Store.Update(ctx, update)
}

func (f *faultyStore) UpdateMany(ctx context.Context, updates []store.Update) ([]store.Updated, error) {
	if err := f.before(ctx, "UpdateMany"); err != nil {
		return nil, err
	}
	return f.Store.UpdateMany(ctx, updates)
}

func (f *faultyStore) Delete(ctx context.Context, id string, expectedVersion int64) (int64, error) {
	if err := f.before(ctx, "Delete"); err != nil {
		return 0, err
	}
	return f.Store.Delete(ctx, id, expectedVersion)
}

func (f *faultyStore) RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (store.User, error) {
	if err := f.before(ctx, "RecordLogin"); err != nil {
		return store.User{}, err
	}
	return f.Store.RecordLogin(ctx, id, at, resolution)
}

func (f *faultyStore) Head(ctx context.Context) (store.Cursor, error) {
	if err := f.before(ctx, "Head"); err != nil {
		return "", err
	}
	return f.Store.Head(ctx)
}

func (f *faultyStore) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	if err := f.before(ctx, "Changes"); err != nil {
		return nil, "", err
	}
	return f.Store.Changes(ctx, after, limit)
}

func (f *faultyStore) Wait(ctx context.Context, after store.Cursor) error {
	if err := f.before(ctx, "Wait"); err != nil {
		return err
	}
	return f.Store.Wait(ctx, after)
}

func (f *faultyStore) Ping(ctx context.Context) error {
	if err := f.before(ctx, "Ping"); err != nil {
		return err
	}
	return f.Store.Ping(ctx)
}

// startFaulty runs a server whose store asks before every call.
func startFaulty(tb testing.TB, before func(ctx context.Context, method string) error, configure ...func(*server.Config)) *servertest.Server {
	tb.Helper()
	return servertest.Start(tb, func(config *server.Config) {
		config.Store = &faultyStore{Store: servertest.NewStore(tb), before: before}
		for _, change := range configure {
			change(config)
		}
	})
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

// withHeader is an HTTP client that sets a header of every request.
func withHeader(client *http.Client, name, value string) *http.Client {
	return &http.Client{Transport: roundTripper{client.Transport, func(req *http.Request) { req.Header.Set(name, value) }}}
}
