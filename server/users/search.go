package users

import (
	"context"
	"fmt"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
)

// defaultPageSize is the number of users in a page when the request names none.
const defaultPageSize = 10

func (u *Service) SearchUsers(ctx context.Context, req *userv1.SearchUsersRequest) (*userv1.SearchUsersResponse, error) {
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
	return &userv1.SearchUsersResponse{Users: wire.ToProtos(found), NextPageToken: next}, nil
}

// page returns the users of one page of a list, and the token of the next one or
// "" after the last.
func (u *Service) page(ctx context.Context, query store.Query, list, token string, size int32) ([]store.User, string, error) {
	after, err := u.tokens.open(token, list)
	if err != nil {
		return nil, "", err
	}
	if size == 0 {
		size = defaultPageSize
	}
	query.After, query.Limit = after, int(size)+1 // One more tells whether there is a next page.
	found, err := u.listValid(ctx, query)
	if err != nil || len(found) <= int(size) {
		return found, "", err
	}
	found = found[:size]
	next, err := u.tokens.seal(found[size-1].Position(), list)
	return found, next, err
}

// listValid lists users as the store does, but for those that cannot be shown.
func (u *Service) listValid(ctx context.Context, query store.Query) ([]store.User, error) {
	var valid []store.User
	for limit := query.Limit; ; query.Limit = limit - len(valid) {
		found, err := u.Store.List(ctx, query)
		if err != nil {
			return nil, err
		}
		last := len(found) < query.Limit
		if !last {
			query.After = found[len(found)-1].Position()
		}
		if valid = append(valid, u.Invalid.Without(found)...); last || len(valid) == limit {
			return valid, nil
		}
	}
}
