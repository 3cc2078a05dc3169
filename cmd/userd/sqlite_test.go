package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/uuid"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/store/storetest/transcript"
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
			fmt.Sprintf(`INSERT INTO users (id, email, display_name, created_at, updated_at, roles, version) VALUES ('%s', 'ada@example.com', 'New', 1, 1, '[]', 0)`, other),
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

// TestASecondServerOnAFileIsRefused starts what writes beside a server, and what only
// looks.
func TestASecondServerOnAFileIsRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "userd.db")
	createUser(t, grpcClient(t, startUserd(t, "--database", "sqlite:"+path).url), "ada@example.com")
	database, other := "sqlite:"+path, "sqlite:"+filepath.Join(folder, "other.db")
	for _, c := range []struct {
		args    string
		refused bool
	}{
		{"serve --listen 127.0.0.1:0 --admin-listen= --database " + database, true},
		{"migrate up --database " + database, true},
		{"migrate status --database " + database, false},
		{"copy --from " + database + " --to " + other, false},
		{"copy --from " + other + " --to " + database, true},
	} {
		out, err := exec.CommandContext(t.Context(), userdPath(t), strings.Fields(c.args)...).CombinedOutput()
		said := strings.Contains(string(out), "another userd has this file open") && strings.Count(string(out), "\n") == 1
		if c.refused && (err == nil || !said) || !c.refused && err != nil {
			t.Errorf("userd %s: %v: %s", c.args, err, out)
		}
	}
	if left, err := filepath.Glob(filepath.Join(folder, "other.db-*")); err != nil || len(left) != 1 {
		t.Errorf("copy leaves %v, error %v, want the lock file alone", left, err)
	}
}

// TestAServerNoticesThatItsFileIsGone removes the file under a server.
func TestAServerNoticesThatItsFileIsGone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "userd.db")
	log := new(transcript.Log)
	p := startLogging(t, log, "--database", "sqlite:"+path)
	client := grpcClient(t, p.url)
	createUser(t, client, "ada@example.com")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	removed := time.Now()
	_, err := client.CreateUser(t.Context(), &userv1.CreateUserRequest{Email: "new@example.com", DisplayName: "New"})
	if connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a write ends with %v", err)
	}
	for asked := removed; ready(t, p); asked = time.Now() {
		if asked.After(removed.Add(time.Second)) {
			t.Fatal("the server is ready a second later")
		}
	}
	if !strings.Contains(log.String(), "was removed or replaced while userd had it open: restart userd") {
		t.Errorf("the log is %s", log)
	}
}

func ready(t *testing.T, p *process) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.adminHost+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// TestTheLogNamesWhyTheStoreIsUnavailable has sqlite3 hold a lock for too long.
func TestTheLogNamesWhyTheStoreIsUnavailable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "userd.db")
	log := new(transcript.Log)
	client := grpcClient(t, startLogging(t, log, "--database", "sqlite:"+path).url)
	createUser(t, client, "ada@example.com")
	unlock := lockWithSQLite3(t, path)
	began := time.Now()
	for range 2 {
		_, err := client.CreateUser(t.Context(), &userv1.CreateUserRequest{Email: "new@example.com", DisplayName: "New"})
		if connect.CodeOf(err) != connect.CodeUnavailable {
			t.Fatalf("a write ends with %v", err)
		}
	}
	named := strings.Count(log.String(), `"store is unavailable","cause":"another program has locked the SQLite file`)
	if most := 1 + int(time.Since(began)/(10*time.Second)); named < 1 || named > most {
		t.Errorf("the cause is named %d times: %s", named, log)
	}
	unlock()
	createUser(t, client, "new@example.com")
}

// lockWithSQLite3 lets sqlite3 hold the write lock until unlock is called.
func lockWithSQLite3(t *testing.T, path string) (unlock func()) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sqlite3", "-batch", path)
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(input, ".timeout 10000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "locked\n" {
		t.Fatalf("sqlite3 says %q, error %v", line, err)
	}
	return func() {
		if err := errors.Join(input.Close(), command.Wait()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestREADMECommandsForSQLiteWork runs what the README tells to do with sqlite3: to a
// running server, and the restoring after it has stopped.
func TestREADMECommandsForSQLiteWork(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	database := "sqlite:" + filepath.Join(folder, "userd.db")
	p := startUserd(t, "--database", database)
	id := createUser(t, grpcClient(t, p.url), "ada@example.com")
	stopped, commands := false, 0
	for _, script := range shellBlocks(t, "README.md") {
		if !strings.Contains(script, "userd.db") || strings.Contains(script, "userd copy") {
			continue
		}
		if restores := strings.Contains(script, "cp backup.db"); restores && !stopped {
			createUser(t, grpcClient(t, p.url), "late@example.com")
			if err := p.stop(t); err != nil {
				t.Fatal(err)
			}
			stopped = true
		}
		commands++
		command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		command.Dir = folder
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s\nfails: %v\n%s", script, err, out)
		}
	}
	if commands < 3 || !stopped {
		t.Fatalf("the README has %d commands", commands)
	}
	client := grpcClient(t, startUserd(t, "--database", database).url)
	if got := shown(t, client, id); got != "Zoë at version 3" {
		t.Errorf("restored is %s", got)
	}
	if got := shownByEmail(t, client, "late@example.com"); got != "nobody" {
		t.Errorf("who came after the backup is %s", got)
	}
}
