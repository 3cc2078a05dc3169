package users

import (
	"errors"
	"testing"
	"time"

	"github.com/example/userd/server/failure"
	"github.com/example/userd/store"
)

// Only what was sealed opens, and only with its own list.
func FuzzPageToken(f *testing.F) {
	tokens, err := newPageTokens([32]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	want := store.Position{CreatedAt: time.UnixMicro(1_700_000_000_000_001).UTC(), ID: "11111111-1111-4111-8111-111111111111"}
	const list = "search"
	sealed, err := tokens.seal(want, list)
	if err != nil {
		f.Fatal(err)
	}
	for _, token := range []string{"", sealed, sealed[1:], sealed + "AAAA", "AAAA", "{}", sealed[:68] + "__"} {
		f.Add(token, list)
		f.Add(token, listUsers)
	}
	f.Fuzz(func(t *testing.T, token, name string) {
		got, err := tokens.open(token, name)
		first := token == "" && got == store.Position{}
		opened := name == list && got == want
		if err == nil && !first && !opened || err != nil && !errors.Is(err, failure.ErrInvalidPageToken) {
			t.Errorf("position %v, error %v", got, err)
		}
	})
}

// BenchmarkPageToken seals a position into a token and opens it.
func BenchmarkPageToken(b *testing.B) {
	tokens, err := newPageTokens([32]byte{1})
	if err != nil {
		b.Fatal(err)
	}
	position := store.Position{ID: "11111111-1111-4111-8111-111111111111", CreatedAt: time.UnixMicro(1_700_000_000_000_001).UTC()}
	token, err := tokens.seal(position, "list")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tokens.seal(position, "list"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if found, err := tokens.open(token, "list"); err != nil || found != position {
				b.Fatal(found, err)
			}
		}
	})
}
