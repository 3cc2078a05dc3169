package store_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/example/userd/store"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	const id = "aaaaaaaa-1111-4111-8111-111111111111"
	for name, test := range map[string]struct {
		change func(*store.User)
		field  string
	}{
		"valid":                {func(*store.User) {}, ""},
		"valid, after login":   {func(u *store.User) { u.LastLogin = time.Unix(1, 0) }, ""},
		"id in upper case":     {func(u *store.User) { u.ID = "AAAAAAAA-1111-4111-8111-111111111111" }, "id"},
		"id without hyphens":   {func(u *store.User) { u.ID = "aaaaaaaa011110411108111011111111111a" }, "id"},
		"short id":             {func(u *store.User) { u.ID = "a" }, "id"},
		"email":                {func(u *store.User) { u.Email = "\xff" }, "email"},
		"name":                 {func(u *store.User) { u.DisplayName = "\xff" }, "display_name"},
		"late creation":        {func(u *store.User) { u.CreatedAt = time.UnixMicro(math.MaxInt64) }, "created_at"},
		"early change":         {func(u *store.User) { u.UpdatedAt = time.UnixMicro(math.MinInt64) }, "updated_at"},
		"late login":           {func(u *store.User) { u.LastLogin = time.UnixMicro(math.MaxInt64) }, "last_login"},
		"unreadable roles":     {func(u *store.User) { u.Roles = store.UnreadableRoles() }, "roles"},
		"role that is no text": {func(u *store.User) { u.Roles = []string{"a", "\xff"} }, "roles"},
		"no version":           {func(u *store.User) { u.Version = 0 }, "version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := store.User{ID: id, Email: "ada@example.com", DisplayName: "Ada", CreatedAt: time.Unix(1, 0), UpdatedAt: time.Unix(1, 0), Roles: []string{"a"}, Version: 1}
			test.change(&user)
			err := user.Check()
			invalid := new(store.InvalidUserError)
			if test.field == "" && err != nil || test.field != "" && (!errors.As(err, &invalid) || invalid.Field != test.field) {
				t.Errorf("error is %v, want %q", err, test.field)
			}
		})
	}
}
