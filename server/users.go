package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect/v2/connecthttp"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// defaultPageSize is the number of users in a page when the request names none.
const defaultPageSize = 10

// users serves the RPCs of user.v1.UserService from a store.
type users struct {
	store           store.Store
	tokens          pageTokens
	loginResolution time.Duration
	now             func() time.Time
	running         context.Context // Ends when the server begins to stop.
}

func (u *users) GetUser(ctx context.Context, req *userv1.GetUserRequest) (*userv1.GetUserResponse, error) {
	user, err := u.store.Get(ctx, canonicalID(req.GetUserId()))
	found := err == nil
	if !found && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if notModified(ctx, u.store.Identity(), user) {
		return nil, connecthttp.NewNotModifiedError()
	}
	if !found {
		return &userv1.GetUserResponse{}, nil
	}
	return &userv1.GetUserResponse{User: toProto(user)}, nil
}

func (u *users) GetUserByEmail(ctx context.Context, req *userv1.GetUserByEmailRequest) (*userv1.GetUserByEmailResponse, error) {
	user, err := u.store.GetByEmail(ctx, req.GetEmail())
	if errors.Is(err, store.ErrNotFound) {
		return &userv1.GetUserByEmailResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &userv1.GetUserByEmailResponse{User: toProto(user)}, nil
}

func (u *users) BatchGetUsers(ctx context.Context, req *userv1.BatchGetUsersRequest) (*userv1.BatchGetUsersResponse, error) {
	ids := canonicalIDs(req.GetUserIds())
	found, err := u.store.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	if notModified(ctx, u.store.Identity(), found...) {
		return nil, connecthttp.NewNotModifiedError()
	}
	return &userv1.BatchGetUsersResponse{Users: toProtos(found), MissingUserIds: missing(ids, found)}, nil
}

// missing returns those of ids that found lacks. Both are in the same order.
func missing(ids []string, found []store.User) []string {
	var lacking []string
	for _, id := range ids {
		if len(found) > 0 && found[0].ID == id {
			found = found[1:]
			continue
		}
		lacking = append(lacking, id)
	}
	return lacking
}

func (u *users) CreateUser(ctx context.Context, req *userv1.CreateUserRequest) (*userv1.CreateUserResponse, error) {
	user, err := u.store.Create(ctx, newUser(req))
	if err != nil {
		return nil, err
	}
	return &userv1.CreateUserResponse{User: toProto(user)}, nil
}

func (u *users) UpdateUser(ctx context.Context, req *userv1.UpdateUserRequest) (*userv1.UpdateUserResponse, error) {
	user, err := u.store.Update(ctx, toUpdate(req.GetUpdate()))
	if err != nil {
		return nil, err
	}
	return &userv1.UpdateUserResponse{User: toProto(user)}, nil
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
	return &userv1.RecordLoginResponse{User: toProto(user)}, nil
}

func (u *users) SearchUsers(ctx context.Context, req *userv1.SearchUsersRequest) (*userv1.SearchUsersResponse, error) {
	list := fmt.Sprintf("search %q %q %q", req.GetEmailPrefix(), req.GetNameContains(), req.GetRole())
	query := store.Query{
		EmailPrefix:  req.GetEmailPrefix(),
		NameContains: req.GetNameContains(),
		Role:         req.GetRole(),
	}
	found, next, err := u.page(ctx, query, list, req.GetPageToken(), req.GetPageSize())
	if err != nil {
		return nil, err
	}
	return &userv1.SearchUsersResponse{Users: toProtos(found), NextPageToken: next}, nil
}

// page returns the users of one page of a list, and the token of the next one or
// "" after the last.
func (u *users) page(ctx context.Context, query store.Query, list, token string, size int32) ([]store.User, string, error) {
	after, err := u.tokens.open(token, list)
	if err != nil {
		return nil, "", err
	}
	if size == 0 {
		size = defaultPageSize
	}
	query.After, query.Limit = after, int(size)+1 // One more tells whether there is a next page.
	found, err := u.store.List(ctx, query)
	if err != nil || len(found) <= int(size) {
		return found, "", err
	}
	found = found[:size]
	next, err := u.tokens.seal(found[size-1].Position(), list)
	return found, next, err
}
