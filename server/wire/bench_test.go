package wire

import (
	"bytes"
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/store"
)

// benchmarkUser is a user of about 150 encoded bytes.
func benchmarkUser() store.User {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	return store.User{
		ID: "11111111-1111-4111-8111-111111111111", Email: "ada.lovelace@analytical.example", DisplayName: "Ada Lovelace",
		Roles: []string{"admin", "billing.read", "member"}, CreatedAt: at, UpdatedAt: at, LastLogin: at, Version: 3,
	}
}

// BenchmarkEncode is a user on the way from the store to a cache and back, and a
// response with a user of the cache on the way to the wire.
func BenchmarkEncode(b *testing.B) {
	user := benchmarkUser()
	data := encodeUser(user)
	b.Run("user", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encodeUser(user)
		}
	})
	b.Run("user/back", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeUser(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	entry := cache.Entry{Data: data, Version: user.Version, Found: true}
	for _, codec := range Codecs() {
		b.Run("response/"+codec.Name(), func(b *testing.B) {
			b.ReportAllocs()
			var wire bytes.Buffer
			for b.Loop() {
				wire.Reset()
				if err := codec.MarshalWrite(context.Background(), &wire, &EncodedUser{entry}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkValidate is what the rules of the schema cost for a request.
func BenchmarkValidate(b *testing.B) {
	rules := NewValidator()
	user := benchmarkUser()
	for _, request := range []struct {
		name    string
		message proto.Message
		valid   bool
	}{
		{"get", &userv1.GetUserRequest{UserId: user.ID}, true},
		{"create", &userv1.CreateUserRequest{Email: user.Email, DisplayName: user.DisplayName, Roles: user.Roles}, true},
		{"update", &userv1.UserUpdate{UserId: user.ID, DisplayName: &user.DisplayName}, true},
		{"refuse", &userv1.CreateUserRequest{Email: "ada", DisplayName: user.DisplayName, Roles: user.Roles}, false},
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
