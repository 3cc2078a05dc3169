package users

import (
	"context"
	"log/slog"
	"time"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/audit"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/watch"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
	"github.com/example/userd/store/stats"
)

// Config says how users are served. All but Reader, Admit and Audit must be set.
type Config struct {
	// Store keeps them.
	Store store.Store
	// Reader answers reads by id, email and external id. Default: they go to Store.
	Reader Reader
	// Admit lets an import in, whose calls of Store then have the context that it
	// returns, or returns why not. Default: all are let in.
	Admit func(context.Context) (context.Context, Admitted, error)
	// Invalid tells of those that cannot be shown.
	Invalid *failure.InvalidUsers
	// Audit takes what was written. Default: nothing does.
	Audit *audit.Log
	// LoginResolution is the shortest time between two writes for logins of one user. 0
	// is none.
	LoginResolution time.Duration
	// Now is the clock.
	Now func() time.Time
	// Running returns what ends when a call with a context is to that never ends by itself,
	// with the cause.
	Running func(context.Context) context.Context
	// Logger is that of the calls. While it takes lines of each, none is sure not to wait.
	Logger *slog.Logger
}

// Admitted is an import that was let in.
type Admitted interface {
	// Do calls f when it is the import's turn, which is for all writes with f's context.
	Do(ctx context.Context, f func(context.Context) error) error
	// Leave is called when it has ended.
	Leave()
}

// everybody lets all imports in, whenever they come.
type everybody struct{}

func admitAll(ctx context.Context) (context.Context, Admitted, error) { return ctx, everybody{}, nil }

func (everybody) Do(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

func (everybody) Leave() {}

// Service serves the RPCs of user.v1.UserService from a store. Those that are in
// Interceptor have no methods with their names.
type Service struct {
	userv1connect.UnimplementedUserServiceHandler
	Config
	near     nearReader // Nil where the reader is none.
	watchers *watch.Watchers
	tokens   pageTokens
}

// New returns a service. Whoever makes it must close it.
func New(config Config) (*Service, error) {
	if config.Reader == nil {
		config.Reader = uncached{store: config.Store}
	}
	if config.Admit == nil {
		config.Admit = admitAll
	}
	tokens, err := newPageTokens(config.Store.Identity().Secret)
	if err != nil {
		return nil, err
	}
	watchers, err := watch.New(watch.Config{Store: config.Store, Invalid: config.Invalid, Running: config.Running})
	if err != nil {
		return nil, err
	}
	u := &Service{Config: config, tokens: tokens, watchers: watchers}
	u.near, _ = config.Reader.(nearReader)
	return u, nil
}

// Watchers returns how many watchers there are, and what they were sent.
func (u *Service) Watchers() stats.Watchers { return u.watchers.Stats() }

// Close returns when nothing of the service runs any more. It ends with its calls.
func (u *Service) Close() { u.watchers.Close() }

func (u *Service) CreateUser(ctx context.Context, req *userv1.CreateUserRequest) (*userv1.CreateUserResponse, error) {
	if req.GetOnConflict() > userv1.OnConflict_ON_CONFLICT_FAIL {
		return nil, failure.ErrNoImport
	}
	user, err := u.Store.Create(ctx, wire.NewUser(req))
	if err != nil {
		return nil, err
	}
	u.Audit.Record(ctx, writeOf(user))
	created, err := wire.User(user.User)
	return &userv1.CreateUserResponse{User: created}, err
}

func (u *Service) UpdateUser(ctx context.Context, req *userv1.UpdateUserRequest) (*userv1.UpdateUserResponse, error) {
	user, err := u.Store.Update(ctx, wire.ToUpdate(req.GetUpdate()))
	if err != nil {
		return nil, err
	}
	u.Audit.Record(ctx, writeOf(user))
	updated, err := wire.User(user.User)
	return &userv1.UpdateUserResponse{User: updated}, err
}

func (u *Service) DeleteUser(ctx context.Context, req *userv1.DeleteUserRequest) (*userv1.DeleteUserResponse, error) {
	id := wire.CanonicalID(req.GetUserId())
	version, err := u.Store.Delete(ctx, id, req.GetExpectedVersion())
	if err != nil {
		return nil, err
	}
	u.watchers.Forget(id)
	u.Audit.Record(ctx, audit.Write{UserID: id, Version: version, Changed: true})
	return &userv1.DeleteUserResponse{Version: version}, nil
}

func (u *Service) RecordLogin(ctx context.Context, req *userv1.RecordLoginRequest) (*userv1.RecordLoginResponse, error) {
	at := loginTime(req, u.Now())
	user, err := u.Store.RecordLogin(ctx, wire.CanonicalID(req.GetUserId()), at, u.LoginResolution)
	if err != nil {
		return nil, err
	}
	if user.Changed { // Else it was too early for another one.
		u.Audit.Record(ctx, writeOf(user))
	}
	loggedIn, err := wire.User(user.User)
	return &userv1.RecordLoginResponse{User: loggedIn}, err
}

func writeOf(user store.Written) audit.Write {
	return audit.Write{UserID: user.ID, Version: user.Version, Changed: user.Changed}
}

// loginTime is when a user logged in: now unless the request says.
func loginTime(req *userv1.RecordLoginRequest, now time.Time) time.Time {
	if req.GetAt() != nil {
		now = req.GetAt().AsTime()
	}
	return now.UTC().Truncate(time.Microsecond)
}
