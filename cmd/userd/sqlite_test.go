package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// sqlite3 runs statements on a file as the program of that name does, and returns
// what it prints.
func sqlite3(t *testing.T, path, statements string) string {
	t.Helper()
	program, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Fatal("sqlite3 is missing: run .ci/install, or install the package sqlite3")
	}
	out, err := exec.CommandContext(t.Context(), program, "-batch", "-cmd", ".timeout 10000", path, statements).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %s: %v: %s", statements, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestServerShowsWhatOtherProgramsWrite lets sqlite3 change, add and delete users of
// whom the server has answers in its cache.
func TestServerShowsWhatOtherProgramsWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "userd.db")
	client := grpcClient(t, startUserd(t, "--database", "sqlite:"+path).url)
	user := createUser(t, client, "ada@example.com")
	other := uuid.NewString()
	watch := watchUsers(t, client)
	show := func(id, email string) string { // Puts into the cache what is not there.
		return shown(t, client, id) + ", by email: " + shownByEmail(t, client, email)
	}
	for _, step := range []struct{ statement, id, email, want, event string }{
		{
			fmt.Sprintf(`UPDATE users SET display_name = 'Zoë', email = 'zoe@example.com' WHERE id = '%s'`, user),
			user, "zoe@example.com", "Zoë at version 2", "upserted at version 2",
		},
		{
			fmt.Sprintf(`INSERT INTO users VALUES ('%s', 'ada@example.com', 'New', 1, 1, NULL, '[]', 0)`, other),
			other, "ada@example.com", "New at version 1", "upserted at version 1",
		},
		{fmt.Sprintf(`DELETE FROM users WHERE id = '%s'`, user), user, "zoe@example.com", "nobody", "deleted at version 3"},
	} {
		show(step.id, step.email)
		sqlite3(t, path, step.statement)
		wrote := time.Now()
		want := step.want + ", by email: " + step.want
		for asked := wrote; ; asked = time.Now() {
			got := show(step.id, step.email)
			if got == want {
				break
			}
			if asked.After(wrote.Add(staleness)) {
				t.Fatalf("%s: shown is %s, want %s", step.statement, got, want)
			}
		}
		if got := watch(step.id); got != step.event {
			t.Errorf("%s: watched is %s, want %s", step.statement, got, step.event)
		}
	}
}

func createUser(t *testing.T, client userv1connect.UserServiceClient, email string) string {
	t.Helper()
	created, err := client.CreateUser(t.Context(), &userv1.CreateUserRequest{Email: email, DisplayName: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	return created.GetUser().GetId()
}

func shown(t *testing.T, client userv1connect.UserServiceClient, id string) string {
	t.Helper()
	got, err := client.GetUser(t.Context(), &userv1.GetUserRequest{UserId: id})
	if err != nil {
		t.Fatal(err)
	}
	return describe(got.GetUser())
}

func shownByEmail(t *testing.T, client userv1connect.UserServiceClient, email string) string {
	t.Helper()
	got, err := client.GetUserByEmail(t.Context(), &userv1.GetUserByEmailRequest{Email: email})
	if err != nil {
		t.Fatal(err)
	}
	return describe(got.GetUser())
}

func describe(user *userv1.User) string {
	if user == nil {
		return "nobody"
	}
	return fmt.Sprintf("%s at version %d", user.GetDisplayName(), user.GetVersion())
}

// watchUsers watches from now. What it returns waits for an event of a user.
func watchUsers(t *testing.T, client userv1connect.UserServiceClient) func(id string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stream, err := client.WatchUsers(ctx, &userv1.WatchUsersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() []*userv1.UserEvent {
		message, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return message.GetEvents()
	}
	next() // The first has the cursor from which on nothing is missed.
	return func(id string) string {
		for {
			for _, event := range next() {
				if user := event.GetUpserted(); user.GetId() == id {
					return fmt.Sprintf("upserted at version %d", user.GetVersion())
				}
				if deleted := event.GetDeleted(); deleted.GetUserId() == id {
					return fmt.Sprintf("deleted at version %d", deleted.GetVersion())
				}
			}
		}
	}
}
