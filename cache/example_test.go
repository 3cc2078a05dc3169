package cache_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/example/userd/cache"
	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

const adasID = "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d"

// openStore opens a new store with one user, Ada.
func openStore(ctx context.Context) (users store.Store, remove func()) {
	folder, err := os.MkdirTemp("", "userd")
	if err != nil {
		log.Fatal(err)
	}
	users, err = sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(folder, "userd.db")})
	if err != nil {
		log.Fatal(err)
	}
	_, err = users.Create(ctx, store.NewUser{ID: adasID, Email: "ada@example.com", DisplayName: "Ada Lovelace"})
	if err != nil {
		log.Fatal(err)
	}
	return users, func() { os.RemoveAll(folder) }
}

// A cache is a store over a store, and shows its own writes at once.
func ExampleNew() {
	ctx := context.Background()
	users, remove := openStore(ctx)
	defer remove()
	cached, err := cache.New(users, cache.Config{}) // With Redis: the URL of it.
	if err != nil {
		log.Fatal(err)
	}
	defer cached.Close()

	name := "Countess Lovelace"
	if _, err := cached.Update(ctx, store.Update{ID: adasID, DisplayName: &name}); err != nil {
		log.Fatal(err)
	}
	user, err := cached.Get(ctx, adasID)
	fmt.Println(user.DisplayName, user.Version, err)
	// Output: Countess Lovelace 2 <nil>
}

// Lookup returns a user as it was encoded once, and its version. A missing user is not an
// error.
func ExampleCache_Lookup() {
	ctx := context.Background()
	users, remove := openStore(ctx)
	defer remove()
	cached, err := cache.New(users, cache.Config{
		Encode: func(user store.User) ([]byte, error) { return []byte(user.DisplayName), nil },
		Decode: func(data []byte) (store.User, error) { return store.User{DisplayName: string(data)}, nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cached.Close()

	ada, err := cached.Lookup(ctx, adasID, cache.Read{MinVersion: 1})
	fmt.Printf("%s, version %d, %v\n", ada.Data, ada.Version, err)
	nobody, err := cached.Lookup(ctx, "00000000-0000-4000-8000-000000000000", cache.Read{})
	fmt.Println(nobody.Found, err)
	// Output:
	// Ada Lovelace, version 1, <nil>
	// false <nil>
}
