package wire

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/store"
)

// What is appended is what proto.Marshal makes of the same user.
func FuzzEncodeUser(f *testing.F) {
	for _, u := range testUsers() {
		f.Add(u.ID, u.Email, u.DisplayName, strings.Join(u.Roles, "\n"), u.CreatedAt.Unix(), u.UpdatedAt.Unix(), u.LastLogin.Unix(), u.CreatedAt.Nanosecond(), u.Version)
	}
	f.Fuzz(func(t *testing.T, id, email, name, roles string, created, updated, login int64, nanos int, version int64) {
		user := store.User{ID: id, Email: email, DisplayName: name, Version: version}
		user.CreatedAt, user.UpdatedAt, user.LastLogin = time.Unix(created, int64(nanos)), time.Unix(updated, 0), time.Unix(login, 1)
		if roles != "" {
			user.Roles = strings.Split(roles, "\n")
		}
		want, err := proto.Marshal(ToProto(user))
		if err != nil {
			return // It is not UTF-8.
		}
		if got := encodeUser(user); !slices.Equal(got, want) {
			t.Errorf("%+v is encoded as %x, want %x", user, got, want)
		}
	})
}
