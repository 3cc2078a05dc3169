package cache

import (
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store"
)

// onCluster returns a bundle over a Cluster of its own.
func onCluster(t testing.TB) (*bundle, *cachetest.Cluster) {
	t.Helper()
	cluster := cachetest.StartCluster(t, nil)
	return &bundle{store: newFakeStore(), url: cluster.URL()}, cluster
}

// What was read from a slot on its way to another node is not shown for longer than that from
// elsewhere.
func TestSlotThatMoves(t *testing.T) {
	t.Parallel()
	b, cluster := onCluster(t)
	c, u := b.open(t), b.user(t)
	warm(t, c, u.ID, 1)
	name := newKeyspace(b.store.identity.Incarnation, clusterBuckets).name(userKey(u.ID))
	m := cluster.Move(name)
	m.Take(name)
	if _, err := c.backend.read(t.Context(), []key{userKey(u.ID)}); err != nil { // From the new node.
		t.Fatal(err)
	}
	m.End()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(20 * time.Second)
	for near := false; !near; {
		select {
		case <-again.C:
			_, near = c.Cached(u.ID, Read{})
			if !near && c.Stats().Trusted { // The connection was lost.
				_, _ = c.backend.read(t.Context(), []key{userKey(u.ID)})
			}
		case <-deadline:
			t.Fatalf("the cache is not used any more: %+v", c.Stats())
		}
	}
	rename(t, b.store, u.ID, "two")
	for {
		select {
		case <-again.C:
			if e, err := c.Lookup(t.Context(), u.ID, Read{}); err == nil && e.Version == 2 {
				return
			}
		case <-deadline:
			t.Fatal("still shown as it was before it was changed")
		}
	}
}

// While a slot moves, and its users change, those of others are cached. The log says why.
func TestSlotThatMovesSlowly(t *testing.T) {
	t.Parallel()
	b, cluster := onCluster(t)
	c := b.open(t)
	var users []store.User
	var claims []claim
	for range 50 {
		u := b.user(t)
		warm(t, c, u.ID, 1)
		users = append(users, u)
	}
	name := newKeyspace(b.store.identity.Incarnation, clusterBuckets).name(userKey(users[0].ID))
	m := cluster.Move(name)
	m.Take(name)
	for range 100 { // Of all buckets.
		claims = append(claims, claim{key: userKey(b.user(t).ID), token: "0123456789abcdef"})
	}
	granted, err := c.backend.acquire(t.Context(), claims)
	if err != nil {
		t.Fatalf("leases of many users, of whom some are on their way: %v", err)
	}
	for i, claim := range claims {
		if !granted[i] && c.backend.bucket(claim.key) != c.backend.bucket(userKey(users[0].ID)) {
			t.Error("a user who stays gets no lease")
		}
	}
	for _, u := range users {
		rename(t, b.store, u.ID, "two")
	}
	if got := b.lines.await(t, "cache is not trusted"); got.cause != "slot_moves" || got.level != slog.LevelWarn {
		t.Errorf("logged %+v, want slot_moves at WARN", got)
	}
	near := 0
	for _, u := range users {
		for e := (Entry{}); e.Version != 2; {
			var err error
			if e, err = c.Lookup(t.Context(), u.ID, Read{}); err != nil {
				t.Fatal(err)
			}
		}
		if c.backend.bucket(userKey(u.ID)) != c.backend.bucket(userKey(users[0].ID)) {
			warm(t, c, u.ID, 2)
			near++
		}
	}
	if near == 0 {
		t.Error("all users have one slot")
	}
	m.End()
	b.lines.await(t, "cache is trusted")
	warm(t, c, users[0].ID, 2)
}

// Nodes without data need nothing of what is in the change log.
func TestEmptyClusterNeedsNoReplay(t *testing.T) {
	t.Parallel()
	b, _ := onCluster(t)
	for range 10 {
		b.user(t)
	}
	c := b.open(t)
	if n := c.Stats().Relayed; n > 0 {
		t.Errorf("when it was trusted %d changes from before had been relayed, want none", n)
	}
}

// A node remembers for a server what that has near, and not all that was changed.
func TestNodesRememberWhatIsNear(t *testing.T) {
	t.Parallel()
	b, cluster := onCluster(t)
	c := b.open(t)
	for range 200 {
		b.user(t)
	}
	c.caughtUp(t)
	remembered := 0
	for _, node := range cluster.Nodes {
		info := node.Do("INFO", "stats")
		text, _ := info.ToString()
		_, text, _ = strings.Cut(text, "tracking_total_keys:")
		text, _, _ = strings.Cut(text, "\r")
		keys, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		remembered += keys
	}
	if remembered > clusterBuckets {
		t.Errorf("the nodes remember %d keys, want the watermarks alone", remembered)
	}
}
