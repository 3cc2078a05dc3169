package main

import (
	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// users are the users of a peer: in memory, read only.
type users struct {
	byID map[string]*userv1.User
	all  []*userv1.User
}

func newUsers(made *population.Users) *users {
	u := &users{byID: make(map[string]*userv1.User)}
	for i := range made.Len() {
		user := made.User(i)
		u.byID[user.GetId()] = user
		u.all = append(u.all, user)
	}
	return u
}

// get answers GetUser.
func (u *users) get(req *userv1.GetUserRequest) *userv1.GetUserResponse {
	return &userv1.GetUserResponse{User: u.byID[req.GetUserId()]}
}

// update answers an update without making it.
func (u *users) update(req *userv1.UserUpdate) *userv1.UserUpdateResponse {
	user := u.byID[req.GetUserId()]
	return &userv1.UserUpdateResponse{Success: user != nil, UpdatedUser: user}
}
