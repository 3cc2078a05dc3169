package server_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

// spy notes what is asked of a reader.
type spy struct {
	server.Reader
	reads []cache.Read
	err   error
}

func (s *spy) Lookup(_ context.Context, _ string, read cache.Read) (cache.Entry, error) {
	s.reads = append(s.reads, read)
	return cache.Entry{}, s.err
}

func TestCachedReadsAnswerWhatWritesHaveAnswered(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]connecthttp.Option{
		"gRPC":          {connecthttp.WithGRPC()},
		"Connect JSON":  {connecthttp.WithProtoJSON()},
		"Connect proto": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := servertest.StartCached(t).Client(t, options...)
			created, err := client.CreateUser(t.Context(), &userv1.CreateUserRequest{
				Email: "old@example.com", DisplayName: "Ada", Roles: []string{"b", "a"}, ExternalId: "sub|old", Disabled: true,
				Attributes: map[string]string{"tenant": "blue", "locale": "de", "old": ""},
				CreatedAt:  timestamppb.New(time.Unix(1e9, 123456789)), LastLogin: timestamppb.New(time.Unix(1e9, 0)),
			})
			if err != nil {
				t.Fatal(err)
			}
			if at := created.GetUser().GetCreatedAt().AsTime(); !at.Equal(time.Unix(1e9, 123456000)) {
				t.Errorf("created at %v", at)
			}
			updated, err := client.UpdateUser(t.Context(), &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{
				UserId: created.GetUser().GetId(), Email: new("ada@example.com"), ExternalId: new("sub|é"), Disabled: new(false),
				SetAttributes: map[string]string{"locale": "fr"}, RemoveAttributes: []string{"old"},
			}})
			if err != nil {
				t.Fatal(err)
			}
			wantUpdated := proto.CloneOf(created.GetUser())
			wantUpdated.Email, wantUpdated.ExternalId, wantUpdated.Disabled, wantUpdated.Version = "ada@example.com", "sub|é", false, 2
			wantUpdated.Attributes, wantUpdated.UpdatedAt = map[string]string{"tenant": "blue", "locale": "fr"}, updated.GetUser().GetUpdatedAt()
			if diff := cmp.Diff(wantUpdated, updated.GetUser(), protocmp.Transform()); diff != "" {
				t.Errorf("UpdateUser (-want +got):\n%s", diff)
			}
			login, err := client.RecordLogin(t.Context(), &userv1.RecordLoginRequest{UserId: created.GetUser().GetId()})
			if err != nil {
				t.Fatal(err)
			}
			want := login.GetUser()
			for range 2 { // From the store, and from the cache.
				got, err := client.GetUser(t.Context(), &userv1.GetUserRequest{UserId: want.GetId()})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got.GetUser(), protocmp.Transform()); diff != "" {
					t.Errorf("GetUser (-want +got):\n%s", diff)
				}
			}
			byEmail, err := client.GetUserByEmail(t.Context(), &userv1.GetUserByEmailRequest{Email: "ADA@example.com"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, byEmail.GetUser(), protocmp.Transform()); diff != "" {
				t.Errorf("GetUserByEmail (-want +got):\n%s", diff)
			}
			byExternalID, err := client.GetUserByExternalId(t.Context(), &userv1.GetUserByExternalIdRequest{ExternalId: "sub|é"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, byExternalID.GetUser(), protocmp.Transform()); diff != "" {
				t.Errorf("GetUserByExternalId (-want +got):\n%s", diff)
			}
			old, err := client.GetUserByEmail(t.Context(), &userv1.GetUserByEmailRequest{Email: "old@example.com"})
			if err != nil || old.User != nil {
				t.Errorf("by the old email: %v, error %v", old, err)
			}
			checkBatch(t, client.BatchGetUsers, want)
		})
	}
}

func checkBatch(t *testing.T, batchGet func(context.Context, *userv1.BatchGetUsersRequest) (*userv1.BatchGetUsersResponse, error), want *userv1.User) {
	t.Helper()
	const nobody = "00000000-0000-4000-8000-000000000000"
	got, err := batchGet(t.Context(), &userv1.BatchGetUsersRequest{UserIds: []string{nobody, want.GetId()}})
	if err != nil {
		t.Fatal(err)
	}
	wanted := &userv1.BatchGetUsersResponse{Users: []*userv1.User{want}, MissingUserIds: []string{nobody}}
	if diff := cmp.Diff(wanted, got, protocmp.Transform()); diff != "" {
		t.Errorf("BatchGetUsers (-want +got):\n%s", diff)
	}
}

func TestReadsSayHowFreshTheyMustBe(t *testing.T) {
	t.Parallel()
	reader := new(spy)
	s := servertest.Start(t, func(config *server.Config) { config.Reader = reader })
	client := s.Client(t)
	id := "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d"
	if _, err := client.GetUser(t.Context(), &userv1.GetUserRequest{UserId: id, MinVersion: 7}); err != nil {
		t.Fatal(err)
	}
	ctx, call := connect.NewClientContext(t.Context())
	call.RequestHeader().Set("Cache-Control", "max-age=0, no-cache")
	if _, err := client.GetUser(ctx, &userv1.GetUserRequest{UserId: id}); err != nil {
		t.Fatal(err)
	}
	if want := []cache.Read{{MinVersion: 7}, {NoCache: true}}; !slices.Equal(reader.reads, want) {
		t.Errorf("reads: %+v, want %+v", reader.reads, want)
	}
}

func TestOverloadIsToldAtOnce(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, func(config *server.Config) { config.Reader = &spy{err: store.ErrOverloaded} })
	_, err := s.Client(t).GetUser(t.Context(), &userv1.GetUserRequest{UserId: "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d"})
	checkError(t, err, failure{code: connect.CodeResourceExhausted, reason: userv1.Reason_REASON_OVERLOADED})
	authored := new(connect.Error)
	errors.As(err, &authored)
	if retry := details[*errdetails.RetryInfo](t, authored); len(retry) != 1 || retry[0].GetRetryDelay().AsDuration() <= 0 {
		t.Errorf("the time to wait is %v", retry)
	}
}

func TestConditionalGetIsAnsweredFromTheCache(t *testing.T) {
	t.Parallel()
	s := servertest.StartCached(t)
	client := s.ClientOf(servertest.HTTP1(t), connecthttp.WithHTTPGet(), connecthttp.WithProtoJSON())
	created, err := client.CreateUser(t.Context(), &userv1.CreateUserRequest{Email: "ada@example.com", DisplayName: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, call := connect.NewClientContext(t.Context())
	if _, err := client.GetUser(ctx, &userv1.GetUserRequest{UserId: created.GetUser().GetId()}); err != nil {
		t.Fatal(err)
	}
	ctx, again := connect.NewClientContext(t.Context())
	again.RequestHeader().Set("If-None-Match", call.ResponseHeader().Get("Etag"))
	_, err = client.GetUser(ctx, &userv1.GetUserRequest{UserId: created.GetUser().GetId()})
	if !connecthttp.IsNotModifiedError(err) {
		info, _ := connecthttp.ClientInfoForContext(ctx)
		t.Errorf("second GetUser: %v, status %d, want %d", err, info.ResponseStatus(), http.StatusNotModified)
	}
}
