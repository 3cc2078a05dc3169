package wire

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/example/userd/cache"
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
