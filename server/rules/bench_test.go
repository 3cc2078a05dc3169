package rules

import (
	"testing"

	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
)

// BenchmarkValidate is what the rules of the schema cost for a request.
func BenchmarkValidate(b *testing.B) {
	rules := New()
	id, email, name, roles := testUUID, "ada.lovelace@analytical.example", "Ada Lovelace", []string{"admin", "billing.read", "member"}
	for _, request := range []struct {
		name    string
		message proto.Message
		valid   bool
	}{
		{"get", &userv1.GetUserRequest{UserId: id}, true},
		{"create", &userv1.CreateUserRequest{Email: email, DisplayName: name, Roles: roles}, true},
		{"update", &userv1.UserUpdate{UserId: id, DisplayName: &name}, true},
		{"refuse", &userv1.CreateUserRequest{Email: "ada", DisplayName: name, Roles: roles}, false},
	} {
		b.Run(request.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := rules.Validate(request.message); (err == nil) != request.valid {
					b.Fatal(err)
				}
			}
		})
	}
}
