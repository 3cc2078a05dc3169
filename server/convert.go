package server

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// toProto is u as callers see it.
func toProto(u store.User) *userv1.User {
	user := &userv1.User{
		Id:          u.ID,
		Email:       u.Email,
		DisplayName: u.DisplayName,
		CreatedAt:   timestamppb.New(u.CreatedAt),
		Roles:       u.Roles,
		Version:     u.Version,
		UpdatedAt:   timestamppb.New(u.UpdatedAt),
	}
	if !u.LastLogin.IsZero() {
		user.LastLogin = timestamppb.New(u.LastLogin)
	}
	return user
}

// fromProto is the opposite of toProto.
func fromProto(user *userv1.User) store.User {
	u := store.User{
		ID:          user.GetId(),
		Email:       user.GetEmail(),
		DisplayName: user.GetDisplayName(),
		CreatedAt:   user.GetCreatedAt().AsTime(),
		UpdatedAt:   user.GetUpdatedAt().AsTime(),
		Roles:       user.GetRoles(),
		Version:     user.GetVersion(),
	}
	if user.GetLastLogin() != nil {
		u.LastLogin = user.GetLastLogin().AsTime()
	}
	return u
}

// EncodeUser is u as a cache keeps it for this server: the protobuf message that
// callers get.
func EncodeUser(u store.User) []byte {
	data, err := proto.Marshal(toProto(u))
	if err != nil { // Only text that is not UTF-8, which no store of ours returns.
		panic(err)
	}
	return data
}

// DecodeUser is the opposite of EncodeUser.
func DecodeUser(data []byte) (store.User, error) {
	var user userv1.User
	if err := proto.Unmarshal(data, &user); err != nil {
		return store.User{}, err
	}
	return fromProto(&user), nil
}

func toProtos(users []store.User) []*userv1.User {
	messages := make([]*userv1.User, len(users))
	for i, user := range users {
		messages[i] = toProto(user)
	}
	return messages
}

// newUser is the user that a request asks for, with a new id unless it brings
// one.
func newUser(req *userv1.CreateUserRequest) store.NewUser {
	id := canonicalID(req.GetUserId())
	if id == "" {
		id = uuid.NewString()
	}
	return store.NewUser{
		ID:          id,
		Email:       req.GetEmail(),
		DisplayName: req.GetDisplayName(),
		Roles:       req.GetRoles(),
	}
}

func toUpdate(req *userv1.UserUpdate) store.Update {
	return store.Update{
		ID:              canonicalID(req.GetUserId()),
		DisplayName:     req.DisplayName,
		AddRoles:        req.GetAddRoles(),
		RemoveRoles:     req.GetRemoveRoles(),
		ExpectedVersion: req.GetExpectedVersion(),
	}
}

// loginTime is when a user logged in: now unless the request says.
func loginTime(req *userv1.RecordLoginRequest, now time.Time) time.Time {
	if req.GetAt() != nil {
		now = req.GetAt().AsTime()
	}
	return now.UTC().Truncate(time.Microsecond)
}

// canonicalID is a UUID as the store has it.
func canonicalID(id string) string { return strings.ToLower(id) }

func canonicalIDs(ids []string) []string {
	canonical := make([]string, len(ids))
	for i, id := range ids {
		canonical[i] = canonicalID(id)
	}
	return canonical
}
