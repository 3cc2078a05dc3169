package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// What is known of a user who must be forgotten.
const (
	erasedEmail = "leaves-no-trace@example.com"
	erasedName  = "Leaves No Trace"
	oldName     = "Had Another Name"
)

// TestADeletedUserIsForgottenByTheCache has two servers show a user, deletes it through
// one, and asks both for it for as long as a copy may be stale, which is when one
// could be put back. Then neither knows it, and Redis has nothing of it.
func TestADeletedUserIsForgottenByTheCache(t *testing.T) {
	t.Parallel()
	redis := cachetest.Start(t)
	database := newPostgres(t)
	var servers []userv1connect.UserServiceClient
	for range 2 {
		p := startUserd(t, "--database", database, "--redis", redis.URL())
		awaitMetric(t, p.adminHost, `userd_cache_trusted 1`)
		servers = append(servers, grpcClient(t, p.url))
	}
	created, err := servers[0].CreateUser(t.Context(), &userv1.CreateUserRequest{Email: erasedEmail, DisplayName: oldName})
	if err != nil {
		t.Fatal(err)
	}
	id := created.GetUser().GetId()
	for deadline := time.Now().Add(10 * time.Second); traces(t, redis) == ""; showAll(t, servers, id) { // It is filled after an answer.
		if time.Now().After(deadline) {
			t.Fatal("the cache has nothing of the user to forget")
		}
	}

	_, err = servers[0].UpdateUser(t.Context(), &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: id, DisplayName: new(erasedName)}})
	if err != nil {
		t.Fatal(err)
	}
	askForABound(t, servers, id)
	if found := traces(t, redis); !strings.Contains(found, erasedName) || strings.Contains(found, oldName) {
		t.Errorf("after the update Redis has %s", found)
	}

	if _, err := servers[0].DeleteUser(t.Context(), &userv1.DeleteUserRequest{UserId: id}); err != nil {
		t.Fatal(err)
	}
	askForABound(t, servers, id)
	if found := traces(t, redis); found != "" {
		t.Errorf("after the deletion Redis has %s", found)
	}
	for number, shows := range showAll(t, servers, id) {
		if shows != "" {
			t.Errorf("server %d shows %s", number, shows)
		}
	}
}

// askForABound asks all servers for a user until no copy of before may be shown.
func askForABound(t *testing.T, servers []userv1connect.UserServiceClient, id string) {
	t.Helper()
	for end := time.Now().Add(staleness); time.Now().Before(end); {
		showAll(t, servers, id)
	}
}

// showAll asks each server for a user in every way, and returns what it shows, "" for
// nothing.
func showAll(t *testing.T, servers []userv1connect.UserServiceClient, id string) []string {
	t.Helper()
	shown := make([]string, len(servers))
	for i, server := range servers {
		byID, err := server.GetUser(t.Context(), &userv1.GetUserRequest{UserId: id})
		if err != nil {
			t.Fatal(err)
		}
		byEmail, err := server.GetUserByEmail(t.Context(), &userv1.GetUserByEmailRequest{Email: erasedEmail})
		if err != nil {
			t.Fatal(err)
		}
		many, err := server.BatchGetUsers(t.Context(), &userv1.BatchGetUsersRequest{UserIds: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range append(many.GetUsers(), byID.GetUser(), byEmail.GetUser()) {
			if user != nil {
				shown[i] += fmt.Sprint(user.GetEmail(), " ", user.GetDisplayName(), "; ")
			}
		}
	}
	return shown
}

// traces is all of Redis, keys and values, that has something of the user in it.
func traces(t *testing.T, redis *cachetest.Redis) string {
	t.Helper()
	all := redis.Do("KEYS", "*")
	keys, err := all.AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	for _, key := range keys {
		held := redis.Do("GET", key)
		value, err := held.ToString()
		if err != nil {
			t.Fatalf("%s is not a string: %v", key, err)
		}
		for _, trace := range []string{erasedEmail, erasedName, oldName} {
			if entry := key + " = " + value; strings.Contains(strings.ToLower(entry), strings.ToLower(trace)) {
				fmt.Fprintf(&found, "%q; ", entry)
			}
		}
	}
	return found.String()
}
