package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
	"github.com/example/userd/store/storetest/transcript"
)

// faultyStore is a store whose calls can be made to fail or to wait.
type faultyStore struct {
	store.Store
	before func(ctx context.Context, method string) error
}

func (f *faultyStore) Create(ctx context.Context, user store.NewUser) (store.Written, error) {
	if err := f.before(ctx, "Create"); err != nil {
		return store.Written{}, err
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

func (f *faultyStore) GetByExternalID(ctx context.Context, externalID string) (store.User, error) {
	if err := f.before(ctx, "GetByExternalID"); err != nil {
		return store.User{}, err
	}
	return f.Store.GetByExternalID(ctx, externalID)
}

func (f *faultyStore) List(ctx context.Context, query store.Query) (store.Page, error) {
	if err := f.before(ctx, "List"); err != nil {
		return store.Page{}, err
	}
	return f.Store.List(ctx, query)
}

func (f *faultyStore) Update(ctx context.Context, update store.Update) (store.Written, error) {
	if err := f.before(ctx, "Update"); err != nil {
		return store.Written{}, err
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

func (f *faultyStore) RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (store.Written, error) {
	if err := f.before(ctx, "RecordLogin"); err != nil {
		return store.Written{}, err
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

// unaryRequests are one valid request of each RPC that takes one message.
func unaryRequests() []proto.Message {
	return []proto.Message{
		&userv1.GetUserRequest{UserId: someID},
		&userv1.ListUsersRequest{},
		&userv1.ListUsersRequest{All: true},
		newUserRequest(1),
		&userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: someID}},
		&userv1.DeleteUserRequest{UserId: someID},
		&userv1.RecordLoginRequest{UserId: someID},
		&userv1.BatchGetUsersRequest{UserIds: []string{someID}},
		&userv1.GetUserByEmailRequest{Email: testEmail(1)},
		&userv1.SearchUsersRequest{},
		&userv1.WatchUsersRequest{},
		&userv1.WatchUsersRequest{Cursor: "earliest"},
	}
}

func TestStoreFailure(t *testing.T) {
	t.Parallel()
	internal := failure{code: connect.CodeInternal, reason: userv1.Reason_REASON_INTERNAL}
	for name, test := range map[string]struct {
		fail func(ctx context.Context) error
		want failure
	}{
		"unknown": {
			fail: func(context.Context) error { return errors.New("disk of " + private + " is full") },
			want: internal,
		},
		"error of another call": {
			fail: func(context.Context) error { return connect.NewError(connect.CodeNotFound, private).WithRemote() },
			want: internal,
		},
		"panic": {
			fail: func(context.Context) error { panic(private) },
			want: internal,
		},
		"unavailable": {
			fail: func(context.Context) error { return fmt.Errorf("dial %s: %w", private, store.ErrUnavailable) },
			want: failure{code: connect.CodeUnavailable, reason: userv1.Reason_REASON_UNAVAILABLE},
		},
		"conflict": {
			fail: func(context.Context) error { return fmt.Errorf("update %s: %w", private, store.ErrConflict) },
			want: failure{code: connect.CodeAborted, reason: userv1.Reason_REASON_CONFLICT},
		},
		"cancelled": {
			fail: func(context.Context) error { return fmt.Errorf("read %s: %w", private, context.Canceled) },
			want: failure{code: connect.CodeCanceled, reason: userv1.Reason_REASON_CANCELED},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			running := startFaulty(t, func(ctx context.Context, _ string) error { return test.fail(ctx) })
			eachRequest(t, func(t *testing.T, protocol protocol, message proto.Message) {
				checkError(t, send(t.Context(), running.Client(t, protocol.options...), message), test.want)
			})
		})
	}
}

// eachRequest runs a test for every request over gRPC and Connect JSON.
func eachRequest(t *testing.T, test func(t *testing.T, protocol protocol, message proto.Message)) {
	t.Helper()
	for i, message := range unaryRequests() {
		for _, protocol := range []protocol{grpcBinary, connectJSON} {
			name := fmt.Sprintf("%d %s %s", i, message.ProtoReflect().Descriptor().Name(), protocol.name)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, protocol, message)
			})
		}
	}
}

// The deadline is in the request only: the client itself waits for the answer. Each request has a
// server of its own: one that would have to wait for others until its deadline is refused before.
func TestDeadline(t *testing.T) {
	t.Parallel()
	want := failure{code: connect.CodeDeadlineExceeded, reason: userv1.Reason_REASON_DEADLINE_EXCEEDED}
	eachRequest(t, func(t *testing.T, protocol protocol, message proto.Message) {
		running := startFaulty(t, func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return ctx.Err()
		})
		client := changing(servertest.HTTP2(t), func(req *http.Request) {
			req.Header.Set("Grpc-Timeout", "10m")
			req.Header.Set("Connect-Timeout-Ms", "10")
		})
		checkError(t, send(t.Context(), running.ClientOf(client, protocol.options...), message), want)
	})
}

func TestInternalErrorsAreLogged(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("the disk is full") },
		"panic": func() error { panic("the disk is full") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logged := new(transcript.Log)
			running := startFaulty(t,
				func(context.Context, string) error { return fail() },
				func(config *server.Config) { config.Logger = logged.Logger() })
			err := send(t.Context(), running.Client(t), &userv1.GetUserRequest{UserId: someID})
			checkError(t, err, failure{code: connect.CodeInternal, reason: userv1.Reason_REASON_INTERNAL})
			if text := logged.String(); !strings.Contains(text, "the disk is full") || !strings.Contains(text, "procedure=user.v1.UserService/GetUser") {
				t.Errorf("log lacks the cause or the procedure:\n%s", text)
			}
		})
	}
}
