package main

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// users are the users of a peer: in memory, read only.
type users struct {
	byID    map[string]*userv1.User
	all     []*userv1.User
	encoded map[string][]byte // GetUserResponse by id, with its gRPC prefix.
}

func newUsers(made *population.Users) *users {
	u := &users{byID: make(map[string]*userv1.User), encoded: make(map[string][]byte)}
	for i := range made.Len() {
		user := made.User(i)
		u.byID[user.GetId()] = user
		u.all = append(u.all, user)
	}
	return u
}

// encode makes the responses of the peer that answers fixed bytes.
func (u *users) encode() error {
	for id, user := range u.byID {
		message, err := proto.Marshal(&userv1.GetUserResponse{User: user})
		if err != nil {
			return err
		}
		size := len(message)
		u.encoded[id] = append([]byte{0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, message...)
	}
	return nil
}

// get answers GetUser.
func (u *users) get(req *userv1.GetUserRequest) *userv1.GetUserResponse {
	return &userv1.GetUserResponse{User: u.byID[req.GetUserId()]}
}

// getMany answers BatchGetUsers.
func (u *users) getMany(req *userv1.BatchGetUsersRequest) *userv1.BatchGetUsersResponse {
	resp := new(userv1.BatchGetUsersResponse)
	for _, id := range req.GetUserIds() {
		if user := u.byID[id]; user != nil {
			resp.Users = append(resp.Users, user)
		} else {
			resp.MissingUserIds = append(resp.MissingUserIds, id)
		}
	}
	return resp
}

// update answers an update without making it.
func (u *users) update(req *userv1.UserUpdate) *userv1.UserUpdateResponse {
	user := u.byID[req.GetUserId()]
	return &userv1.UserUpdateResponse{Success: user != nil, UpdatedUser: user}
}

// requestedID is the id in an encoded GetUserRequest behind its gRPC prefix.
func requestedID(body []byte) string {
	const prefix = 5
	if len(body) < prefix {
		return ""
	}
	_, _, n := protowire.ConsumeTag(body[prefix:])
	if n < 0 {
		return ""
	}
	id, _ := protowire.ConsumeString(body[prefix+n:])
	return id
}
