package store_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/example/userd/store"
	"github.com/example/userd/store/sqlite"
)

const adasID = "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d"

// Every change gives a user a new version and the change log a new row. Whoever keeps
// the cursor of the last row misses none.
func ExampleStore() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "userd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	var users store.Store
	users, err = sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(folder, "userd.db")})
	if err != nil {
		log.Fatal(err)
	}
	defer users.Close()

	_, err = users.Create(ctx, store.NewUser{ID: adasID, Email: "ada@example.com", DisplayName: "Ada Lovelace"})
	if err != nil {
		log.Fatal(err)
	}
	name := "Countess Lovelace"
	if _, err := users.Update(ctx, store.Update{ID: adasID, DisplayName: &name, ExpectedVersion: 1}); err != nil {
		log.Fatal(err)
	}
	if _, err := users.Update(ctx, store.Update{ID: adasID, DisplayName: &name, ExpectedVersion: 1}); err != nil {
		fmt.Println(errors.Is(err, store.ErrVersionMismatch))
	}

	changes, cursor, err := users.Changes(ctx, store.Earliest, 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, change := range changes {
		fmt.Println(change.UserID, change.Version)
	}
	changes, _, err = users.Changes(ctx, cursor, 10)
	fmt.Println(len(changes), err)
	// Output:
	// true
	// 7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d 1
	// 7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d 2
	// 0 <nil>
}

func ExampleSortedRoles() {
	fmt.Println(store.SortedRoles([]string{"reader", "admin", "reader"}))
	// Output: [admin reader]
}

// A repeated login changes nothing until the resolution has passed.
func ExampleUser_LoginDue() {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	user := store.User{LastLogin: now.Add(-30 * time.Second)}
	fmt.Println(user.LoginDue(now, now, time.Minute))
	fmt.Println(user.LoginDue(now, now, 10*time.Second))
	// Output:
	// false
	// true
}
