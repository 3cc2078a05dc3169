// Package population makes the users of a benchmark. The same number always makes
// the same user, in every process, so that a load generator can check what a
// server answers and a peer can serve what the product has stored.
package population

import (
	"crypto/md5"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
)

// Size is about what a user takes when it is encoded, in bytes.
const Size = 150

// Users are users 0 to Len()-1 of one kind.
type Users struct {
	kind uint64
	ids  []string
}

// New returns n users. Users of different kinds have different ids and emails.
func New(kind uint64, n int) *Users {
	u := &Users{kind: kind, ids: make([]string, n)}
	for i := range u.ids {
		u.ids[i] = id(kind, uint64(i))
	}
	return u
}

// Len is the number of users.
func (u *Users) Len() int { return len(u.ids) }

// Kind is what [New] was given.
func (u *Users) Kind() uint64 { return u.kind }

// ID is the id of user i.
func (u *Users) ID(i int) string { return u.ids[i] }

// Email is the email address of user i.
func (u *Users) Email(i int) string { return fmt.Sprintf("u%d-%07d@bench.example", u.kind, i) }

// Write writes all users, as a service answers them, each behind its length.
func (u *Users) Write(w io.Writer) error {
	for i := range u.ids {
		if _, err := protodelim.MarshalTo(w, u.User(i)); err != nil {
			return err
		}
	}
	return nil
}

// Row is user i as an import sends it.
func (u *Users) Row(i int) *userv1.CreateUserRequest {
	user := u.User(i)
	return &userv1.CreateUserRequest{
		UserId: user.GetId(), Email: user.GetEmail(), DisplayName: user.GetDisplayName(), Roles: user.GetRoles(),
	}
}

// User is user i as a service answers it.
func (u *Users) User(i int) *userv1.User {
	created := timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC))
	user := &userv1.User{
		Id: u.ids[i], Email: u.Email(i), DisplayName: fmt.Sprintf("User %07d", i),
		Roles: []string{"member"}, CreatedAt: created, UpdatedAt: created, Version: 1,
	}
	if missing := Size - proto.Size(user); missing >= 8 {
		user.Roles = append(user.Roles, "role"+strings.Repeat("0", missing-6))
	}
	return user
}

// ID is the id of user i of a kind.
func ID(kind uint64, i int) string { return id(kind, uint64(i)) }

// id is a UUID that looks random and is not. In PostgreSQL it is
// md5(kind || '-' || i)::uuid.
func id(kind, i uint64) string {
	return uuid.UUID(md5.Sum(fmt.Appendf(nil, "%d-%d", kind, i))).String()
}
