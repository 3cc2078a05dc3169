package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// grpcClient is a gRPC client of a server at url.
func grpcClient(t *testing.T, url string) userv1connect.UserServiceClient {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return userv1connect.NewUserServiceClient(connect.NewClient(
		connecthttp.NewTransport(&http.Client{Transport: transport}, url, connecthttp.WithGRPC())))
}

// acknowledged are the ids that a server said are stored.
type acknowledged struct {
	mu  sync.Mutex
	ids []string
}

func (a *acknowledged) add(ids ...string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = append(a.ids, ids...)
	return len(a.ids)
}

// TestKilledServerKeepsWhatItAcknowledged kills a server with SIGKILL while it
// creates users one by one and by import, several times on one database.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "userd.db")
	var acked acknowledged
	for round := range 3 {
		p := startUserd(t, "--database", database)
		killWhileWriting(t, p, round, &acked)
	}
	p := startUserd(t, "--database", database)
	users := listAll(t, grpcClient(t, p.url))
	for _, id := range acked.ids {
		if users[id] == nil {
			t.Fatalf("user %s was acknowledged and is gone", id)
		}
	}
	checkLog(t, grpcClient(t, p.url), users)
}

// killWhileWriting lets clients write until enough is acknowledged, and kills the
// server with their next writes under way.
func killWhileWriting(t *testing.T, p *process, round int, acked *acknowledged) {
	t.Helper()
	const enough = 5_000
	reached := make(chan struct{})
	once := sync.OnceFunc(func() { close(reached) })
	before := acked.add()
	progress := func(ids ...string) {
		if acked.add(ids...)-before >= enough {
			once()
		}
	}
	var clients sync.WaitGroup
	for n := range 4 {
		client := grpcClient(t, p.url)
		clients.Go(func() { createUntilError(t.Context(), client, fmt.Sprintf("one-%d-%d", round, n), progress) })
		clients.Go(func() { importUntilError(t.Context(), client, fmt.Sprintf("many-%d-%d", round, n), progress) })
	}
	<-reached
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // It was killed; that is what it says.
	clients.Wait()
}

func createUntilError(ctx context.Context, client userv1connect.UserServiceClient, name string, progress func(...string)) {
	for i := 0; ; i++ {
		resp, err := client.CreateUser(ctx, &userv1.CreateUserRequest{
			Email: fmt.Sprintf("%s-%d@example.com", name, i), DisplayName: name,
		})
		if err != nil {
			return
		}
		progress(resp.GetUser().GetId())
	}
}

func importUntilError(ctx context.Context, client userv1connect.UserServiceClient, name string, progress func(...string)) {
	for i := 0; ; i++ {
		stream, err := client.BatchCreateUsers(ctx)
		if err != nil {
			return
		}
		for row := range 2_500 {
			if stream.Send(&userv1.CreateUserRequest{
				Email: fmt.Sprintf("%s-%d-%d@example.com", name, i, row), DisplayName: name, Roles: []string{"member"},
			}) != nil {
				break // CloseAndReceive says why.
			}
		}
		resp, err := stream.CloseAndReceive()
		if err != nil {
			return
		}
		progress(resp.GetCreatedUserIds()...)
	}
}

// listAll returns every user by id, and fails if one comes twice.
func listAll(t *testing.T, client userv1connect.UserServiceClient) map[string]*userv1.User {
	t.Helper()
	stream, err := client.ListUsers(t.Context(), &userv1.ListUsersRequest{All: true})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	users := make(map[string]*userv1.User)
	emails := make(map[string]bool)
	for {
		user, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return users
		}
		if err != nil {
			t.Fatal(err)
		}
		if users[user.GetId()] != nil || emails[user.GetEmail()] {
			t.Fatalf("user %s is there twice", user.GetId())
		}
		users[user.GetId()], emails[user.GetEmail()] = user, true
	}
}

// checkLog reads the change feed from its start and fails unless it leads to
// exactly these users.
func checkLog(t *testing.T, client userv1connect.UserServiceClient, users map[string]*userv1.User) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := client.WatchUsers(ctx, &userv1.WatchUsersRequest{Cursor: "earliest"})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	logged := make(map[string]int64)
	for len(logged) < len(users) {
		message, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range message.GetEvents() {
			user := event.GetUpserted()
			if users[user.GetId()] == nil {
				t.Fatalf("the log has user %s, the list has not", user.GetId())
			}
			if _, again := logged[user.GetId()]; again {
				t.Fatalf("the log has user %s twice", user.GetId())
			}
			logged[user.GetId()] = user.GetVersion()
		}
	}
}
