package load

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// A page of a search that leaves out very many may end before it has found anybody.
func TestPagesOfASearch(t *testing.T) {
	t.Parallel()
	users := population.New(1, 100)
	check := SearchUsers(users, 0).Check
	asked, other := []*userv1.User{users.User(3)}, users.User(7)
	for name, c := range map[string]struct {
		page  *userv1.SearchUsersResponse
		right bool
	}{
		"the user":             {&userv1.SearchUsersResponse{Users: asked}, true},
		"the user and a token": {&userv1.SearchUsersResponse{Users: asked, NextPageToken: "next"}, true},
		"a token":              {&userv1.SearchUsersResponse{NextPageToken: "next"}, true},
		"nothing":              {&userv1.SearchUsersResponse{}, false},
		"another user":         {&userv1.SearchUsersResponse{Users: []*userv1.User{other}}, false},
		"two users":            {&userv1.SearchUsersResponse{Users: append(asked, other)}, false},
	} {
		message, err := proto.Marshal(c.page)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(message, 3); (err == nil) != c.right {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
