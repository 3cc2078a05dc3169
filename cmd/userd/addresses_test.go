//go:build !race

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/example/userd/cache/cachetest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// sharedAddress is an address that one user gives up and another takes, again and again.
const sharedAddress = "shared@example.com"

// holding is who had the shared address from a write on, "" for nobody.
type holding struct {
	user       string
	start, end int64 // Of the write.
}

// sighting is what a server said of the shared address.
type sighting struct {
	server     int
	user       string // "" for nobody.
	start, end int64
}

// addresses is a history of the shared address on two servers, of which the first writes.
type addresses struct {
	t       *testing.T
	clients [2]userv1connect.UserServiceClient

	mu        sync.Mutex
	holdings  []holding
	sightings []sighting
}

// TestHistoryOfAddresses has an address move from user to user on one server, while clients
// of it and of another one ask whose it is, and Redis is killed and comes back. The server
// that writes must show each move at once, the other one within the bound of staleness, and
// nobody may be shown as having an address that they do not have in the same answer.
func TestHistoryOfAddresses(t *testing.T) {
	t.Parallel()
	redis, database := cachetest.Start(t), newPostgres(t)
	a := &addresses{t: t}
	for i := range a.clients {
		a.clients[i] = grpcClient(t, startUserd(t, "--database", database, "--redis", redis.URL()).url)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.move(ctx) })
	for i := range a.clients {
		running.Go(func() { a.look(ctx, i) })
	}
	cachetest.Run(t, 2*time.Second)
	redis.Kill()
	cachetest.Run(t, 3*time.Second)
	redis.Up()
	cachetest.Run(t, 4*time.Second)
	cancel()
	running.Wait()
	a.judge()
}

// move gives the address to one of two users after the other.
func (a *addresses) move(ctx context.Context) {
	var ids [2]string
	for i := range ids {
		ids[i] = uuid.NewString()
		_, err := a.clients[0].CreateUser(a.t.Context(), &userv1.CreateUserRequest{UserId: ids[i], Email: ids[i] + "@example.com", DisplayName: "Ada"})
		if err != nil {
			a.t.Error(err)
			return
		}
	}
	for i := 0; ctx.Err() == nil; i++ {
		id := ids[i%2]
		a.give(id, sharedAddress, id)
		a.give(id, fmt.Sprintf("%d.%s@example.com", i, id), "")
	}
}

// give changes the email of a user, after which another or nobody has the shared address.
func (a *addresses) give(id, email, holder string) {
	h := holding{user: holder, start: cachetest.Now()}
	_, err := a.clients[0].UpdateUser(a.t.Context(), &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: id, Email: &email}})
	if err != nil {
		a.t.Errorf("update: %v", err)
	}
	h.end = cachetest.Now()
	a.mu.Lock()
	a.holdings = append(a.holdings, h)
	a.mu.Unlock()
	cachetest.Run(a.t, 20*time.Millisecond)
}

// look asks a server whose the address is.
func (a *addresses) look(ctx context.Context, server int) {
	for ctx.Err() == nil {
		s := sighting{server: server, start: cachetest.Now()}
		found, err := a.clients[server].GetUserByEmail(a.t.Context(), &userv1.GetUserByEmailRequest{Email: strings.ToUpper(sharedAddress)})
		s.end, s.user = cachetest.Now(), found.GetUser().GetId()
		if err != nil {
			a.t.Errorf("server %d: %v", server, err)
		}
		if email := found.GetUser().GetEmail(); s.user != "" && email != sharedAddress {
			a.t.Errorf("server %d: whose %s is has the email %s", server, sharedAddress, email)
		}
		a.mu.Lock()
		a.sightings = append(a.sightings, s)
		a.mu.Unlock()
		cachetest.Run(a.t, time.Millisecond)
	}
}

// judge checks that each sighting is of somebody who had the address at a time between its
// end and its start, or for the server that does not write that much before.
func (a *addresses) judge() {
	if len(a.holdings) < 50 || len(a.sightings) < 500 {
		a.t.Errorf("only %d moves and %d sightings", len(a.holdings), len(a.sightings))
	}
	found := 0
	for _, s := range a.sightings {
		if s.user != "" {
			found++
		}
		oldest := s.start
		if s.server != 0 {
			oldest -= int64(staleness)
		}
		if !a.held(s.user, oldest, s.end) {
			a.t.Errorf("server %d says at %d–%d that the address is of %q", s.server, s.start, s.end, s.user)
		}
	}
	a.t.Logf("%d moves, %d sightings, %d of somebody", len(a.holdings), len(a.sightings), found)
	if found == 0 || found == len(a.sightings) {
		a.t.Error("nobody was ever found, or somebody always")
	}
}

// held reports whether a user may have had the address at some time of these. A write
// happens at any time of its call.
func (a *addresses) held(user string, from, to int64) bool {
	before := holding{} // Nobody.
	for _, h := range a.holdings {
		if before.user == user && before.start <= to && h.end >= from {
			return true
		}
		before = h
	}
	return before.user == user && before.start <= to
}
