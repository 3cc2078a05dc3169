package server_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/admission"
	"github.com/example/userd/server/edge"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

// as is an HTTP client of the principal whose token is its name.
func as(client *http.Client, name string) *http.Client {
	return changing(client, func(req *http.Request) { setToken(req, name) })
}

// overloaded are the details of the error of a caller who has too much.
func overloaded(t *testing.T, err error) {
	t.Helper()
	authored := new(connect.Error)
	if !errors.As(err, &authored) || authored.Code() != connect.CodeResourceExhausted {
		t.Fatalf("error is %v", err)
	}
	infos, retries := details[*errdetails.ErrorInfo](t, authored), details[*errdetails.RetryInfo](t, authored)
	if len(infos) != 1 || infos[0].GetReason() != "OVERLOADED" || len(retries) != 1 || retries[0].GetRetryDelay().AsDuration() <= 0 {
		t.Errorf("details are %v, %v", infos, retries)
	}
}

// A principal, and an address, have so many streams open and no more, whatever their kind.
// Other calls and probes go on.
func TestStreamsOfACaller(t *testing.T) {
	t.Parallel()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, over := range allWays {
			t.Run(string(transport)+" "+over.name, func(t *testing.T) {
				t.Parallel()
				g := startGuarded(t, func(config *server.Config) {
					config.HTTP2, config.MaxStreamsPerPrincipal, config.MaxStreamsPerAddress = transport, 2, 3
				}, tokenLine("stays", everyScope), tokenLine("second", everyScope), tokenLine("scraper", "admin"))
				client := func(name string) userv1connect.UserServiceClient {
					return g.ClientOf(as(over.http(t), name), over.options...)
				}
				first, second := client("stays"), client("second")
				refused := func(client userv1connect.UserServiceClient) {
					t.Helper()
					overloaded(t, watchToEnd(t.Context(), client, &userv1.WatchUsersRequest{}))
				}
				receive(t, watch(t, first, ""))
				imported := openImport(t, first)
				awaitImports(t, g, 1)
				refused(first)
				create(t, first, newUserRequest(2))
				receive(t, watch(t, second, ""))
				refused(second) // By its address.
				if resp, err := over.http(t).Get(g.URL + "/readyz"); err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("a probe: %v, %v", resp, err)
				} else {
					resp.Body.Close()
				}
				if _, err := imported.CloseAndReceive(); err != nil {
					t.Error(err)
				}
				awaitImports(t, g, 0)
				receive(t, watch(t, second, ""))
				metrics := g.metrics(t, "scraper")
				for _, want := range []string{`userd_streams_refused_total{by="principal"} 1`, `userd_streams_refused_total{by="address"} 1`} {
					if !strings.Contains(metrics, want) {
						t.Errorf("no %s in the metrics", want)
					}
				}
			})
		}
	}
}

// slowly is a store that needs a time for each call.
type slowly struct{ store.Store }

// callTime is more than what the rest of a call takes.
const callTime = 60 * time.Millisecond

func (s slowly) Capacity() store.Capacity { return store.Capacity{Reads: 16} }

func (s slowly) Get(ctx context.Context, id string) (store.User, error) {
	time.Sleep(callTime)
	return s.Store.Get(ctx, id)
}

func (s slowly) Create(ctx context.Context, user store.NewUser) (store.Written, error) {
	time.Sleep(callTime)
	return s.Store.Create(ctx, user)
}

func (s slowly) List(ctx context.Context, query store.Query) (store.Page, error) {
	time.Sleep(callTime)
	return s.Store.List(ctx, query)
}

func (s slowly) Import(ctx context.Context, users []store.NewUser) ([]store.Created, error) {
	time.Sleep(callTime)
	return s.Store.Import(ctx, users)
}

// kinds are calls of which each needs the store once.
var kinds = map[string]func(context.Context, userv1connect.UserServiceClient) error{
	"lookup": func(ctx context.Context, client userv1connect.UserServiceClient) error {
		_, err := client.GetUser(ctx, &userv1.GetUserRequest{UserId: someID})
		return err
	},
	"create": func(ctx context.Context, client userv1connect.UserServiceClient) error {
		_, err := client.CreateUser(ctx, &userv1.CreateUserRequest{UserId: uuid.NewString(), Email: uuid.NewString() + "@example.com", DisplayName: "Ada"})
		return err
	},
	"search": func(ctx context.Context, client userv1connect.UserServiceClient) error {
		_, err := client.SearchUsers(ctx, &userv1.SearchUsersRequest{NameContains: "rare"})
		return err
	},
	"import": func(ctx context.Context, client userv1connect.UserServiceClient) error {
		stream, err := client.BatchCreateUsers(ctx)
		if err == nil {
			_ = stream.Send(&userv1.CreateUserRequest{Email: uuid.NewString() + "@example.com", DisplayName: "Ada"})
			_, err = stream.CloseAndReceive()
		}
		return err
	},
}

// startShared runs a server whose store is slow, and admits calls by their callers.
func startShared(t *testing.T) *guarded {
	t.Helper()
	users := admission.New(slowly{servertest.NewStore(t)}, slog.New(slog.DiscardHandler))
	users.CallerOf = edge.CallerOf
	return startGuarded(t, func(config *server.Config) {
		config.Store = users
		config.Refuse = func(ctx context.Context, remote string) error {
			return users.Refuse(edge.CallerFrom(ctx, remote), admission.Lookup)
		}
	}, tokenLine("noisy", everyScope), tokenLine("quiet", everyScope))
}

// One principal at full load, with calls of all kinds, has calls refused, and no other has.
// Package admission tests how long those wait.
func TestNoPrincipalStarvesAnother(t *testing.T) {
	t.Parallel()
	g := startShared(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var noise, others sync.WaitGroup
	refused := make(chan struct{})
	for _, call := range kinds {
		noisy := g.ClientOf(as(servertest.HTTP2(t), "noisy"), grpcBinary.options...)
		for range 32 {
			noise.Go(func() { repeat(ctx, func() error { return call(ctx, noisy) }, refused) })
		}
	}
	<-refused // It is more than the server can do.
	quiet := g.ClientOf(as(servertest.HTTP2(t), "quiet"), grpcBinary.options...)
	for kind, call := range kinds {
		others.Go(func() {
			for range 8 {
				if err := call(ctx, quiet); err != nil {
					t.Errorf("%s: %v", kind, err)
				}
			}
		})
	}
	others.Wait()
	<-refused // And still is.
	stop()
	noise.Wait()
}

// repeat makes a call again and again, later where it was refused, as its caller is told.
func repeat(ctx context.Context, call func() error, refused chan<- struct{}) {
	for ctx.Err() == nil {
		if err := call(); connect.CodeOf(err) != connect.CodeResourceExhausted {
			continue
		}
		select {
		case refused <- struct{}{}:
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
