package users

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/packing"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
)

// defaultPageSize is the number of users in a page when the request names none.
const defaultPageSize = 10

func (u *Service) SearchUsers(ctx context.Context, req *userv1.SearchUsersRequest) (*userv1.SearchUsersResponse, error) {
	query := wire.ToQuery(req)
	found, next, err := u.page(ctx, query, filtersOf(query), req.GetPageToken(), req.GetPageSize())
	if err != nil {
		return nil, err
	}
	response := &userv1.SearchUsersResponse{Users: wire.ToProtos(found), NextPageToken: next}
	if _, err := packing.TakeAnswer(ctx, func() int { return proto.Size(response) }); err != nil {
		return nil, err
	}
	return response, nil
}

// filtersOf is what the page tokens of a search are bound to: all that the query asks for.
func filtersOf(query store.Query) string {
	disabled := "any"
	if query.Disabled != nil {
		disabled = fmt.Sprint(*query.Disabled)
	}
	return fmt.Sprintf("search %q %q %q %s %q %d %d %d %t", query.EmailPrefix, query.NameContains, query.Role, disabled,
		query.Attributes, query.InactiveSince.UnixMicro(), query.CreatedAfter.UnixMicro(), query.CreatedBefore.UnixMicro(),
		query.NewestFirst)
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
	page, err := u.listValid(ctx, query)
	if err != nil {
		return nil, "", err
	}
	if len(page.Users) > int(size) {
		page = store.PageOf(page.Users[:size], int(size))
	}
	if page.Next == (store.Position{}) {
		return page.Users, "", nil
	}
	next, err := u.tokens.seal(page.Next, list)
	return page.Users, next, err
}

// listValid lists users as the store does, but for those that cannot be shown, for which
// it lists others.
func (u *Service) listValid(ctx context.Context, query store.Query) (store.Page, error) {
	var valid store.Page
	for limit := query.Limit; ; query.Limit = limit - len(valid.Users) {
		found, err := u.Store.List(ctx, query)
		if err != nil {
			return store.Page{}, err
		}
		valid.Users = append(valid.Users, u.Invalid.Without(found.Users)...)
		valid.Next, query.After = found.Next, found.Next
		if len(found.Users) < query.Limit || len(valid.Users) == limit {
			return valid, nil
		}
	}
}
