package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/store"
)

// users serves the RPCs of user.v1.UserService from a store. Those that are in
// bareInterceptor have no methods with their names.
type users struct {
	userv1connect.UnimplementedUserServiceHandler
	store           store.Store
	reader          Reader
	near            nearReader // Nil where the reader is none.
	logger          *slog.Logger
	invalid         *invalidUsers
	feed            *feed
	tokens          pageTokens
	loginResolution time.Duration
	now             func() time.Time
	running         context.Context // Ends when the server begins to stop.
}

// usersConfig says how users are served.
type usersConfig struct {
	// Store keeps them.
	Store store.Store
	// Reader answers reads by id and by email. Default: they go to Store.
	Reader Reader
	// LoginResolution is the shortest time between two writes for logins of one user. 0
	// is none.
	LoginResolution time.Duration
	// Now is the clock.
	Now func() time.Time
	// Running ends when the server begins to stop.
	Running context.Context
	// Logger takes what callers are not told.
	Logger *slog.Logger
	// Registry takes the metrics.
	Registry prometheus.Registerer
}

func newUsers(config usersConfig) (*users, error) {
	tokens, err := newPageTokens(config.Store.Identity().Secret)
	if err != nil {
		return nil, err
	}
	u := &users{
		store:           config.Store,
		reader:          config.Reader,
		logger:          config.Logger,
		invalid:         newInvalidUsers(config.Registry, config.Logger),
		tokens:          tokens,
		loginResolution: config.LoginResolution,
		now:             config.Now,
		running:         config.Running,
	}
	if u.reader == nil {
		u.reader = uncached{store: u.store}
	}
	u.near, _ = u.reader.(nearReader)
	u.feed = newFeed(u.store, u.invalid)
	return u, nil
}

// countInvalid counts a call that has failed because of a user that cannot be shown.
func (u *users) countInvalid(err error) { u.invalid.failed(err) }

// close returns when nothing of the service runs any more. It ends with its calls.
func (u *users) close() { u.feed.close() }

func (u *users) CreateUser(ctx context.Context, req *userv1.CreateUserRequest) (*userv1.CreateUserResponse, error) {
	user, err := u.store.Create(ctx, newUser(req))
	if err != nil {
		return nil, err
	}
	created, err := shown(user)
	return &userv1.CreateUserResponse{User: created}, err
}

func (u *users) UpdateUser(ctx context.Context, req *userv1.UpdateUserRequest) (*userv1.UpdateUserResponse, error) {
	user, err := u.store.Update(ctx, toUpdate(req.GetUpdate()))
	if err != nil {
		return nil, err
	}
	updated, err := shown(user)
	return &userv1.UpdateUserResponse{User: updated}, err
}

func (u *users) DeleteUser(ctx context.Context, req *userv1.DeleteUserRequest) (*userv1.DeleteUserResponse, error) {
	version, err := u.store.Delete(ctx, canonicalID(req.GetUserId()), req.GetExpectedVersion())
	if err != nil {
		return nil, err
	}
	return &userv1.DeleteUserResponse{Version: version}, nil
}

func (u *users) RecordLogin(ctx context.Context, req *userv1.RecordLoginRequest) (*userv1.RecordLoginResponse, error) {
	user, err := u.store.RecordLogin(ctx, canonicalID(req.GetUserId()), loginTime(req, u.now()), u.loginResolution)
	if err != nil {
		return nil, err
	}
	loggedIn, err := shown(user)
	return &userv1.RecordLoginResponse{User: loggedIn}, err
}

// loginTime is when a user logged in: now unless the request says.
func loginTime(req *userv1.RecordLoginRequest, now time.Time) time.Time {
	if req.GetAt() != nil {
		now = req.GetAt().AsTime()
	}
	return now.UTC().Truncate(time.Microsecond)
}
