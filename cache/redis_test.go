package cache

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store"
	"github.com/example/userd/store/storetest/transcript"
)

// onRedis returns a bundle over a Redis of its own.
func onRedis(t testing.TB, settings ...string) *bundle {
	t.Helper()
	r := cachetest.Start(t, settings...)
	return &bundle{store: newFakeStore(), redis: r, url: r.URL()}
}

// name is the name of a user's slot in Redis.
func (b *bundle) name(id string) string {
	return newKeyspace(b.store.identity.Incarnation, 1).name(userKey(id))
}

func TestCorruptValuesAreReplaced(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string][]string{
		"not ours":        {"SET", "#", "hello"},
		"a short head":    {"SET", "#", "V1"},
		"a wrong payload": {"SET", "#", "V0000000000000009{}"},
		"a wrong version": {"SET", "#", "V000000000000000x{}"},
		"a foreign type":  {"LPUSH", "#", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onRedis(t)
			u := b.user(t) // Before the cache: its relay has nothing to do.
			c := b.open(t)
			command := slices.Clone(spoil)
			command[1] = b.name(u.ID)
			b.redis.Do(command...)
			warm(t, c, u.ID, 1)
			if n := c.Stats().Corrupt; n == 0 {
				t.Error("not counted")
			}
			raw := b.redis.Do("GET", b.name(u.ID))
			{
				text, _ := raw.ToString()
				if s := parseSlot(text); s.kind != found || s.version != 1 {
					t.Errorf("Redis holds %q", text)
				}
			}
		})
	}
}

// What lies in Redis for an email and is no id of a user is no reason not to find who has it.
func TestCorruptNamesAreReplaced(t *testing.T) {
	t.Parallel()
	b := onRedis(t)
	u := b.user(t)
	c := b.open(t)
	name := newKeyspace(b.store.identity.Incarnation, 1).name(emailKey(u.Email))
	b.redis.Do("SET", name, "V0000000000000001hello")
	for deadline := time.Now().Add(10 * time.Second); ; { // It is replaced after the answer.
		if got, err := c.GetByEmail(t.Context(), u.Email); err != nil || got.ID != u.ID {
			t.Fatalf("found is %+v, error %v", got, err)
		}
		raw := b.redis.Do("GET", name)
		text, _ := raw.ToString()
		if s := parseSlot(text); string(s.payload()) == u.ID {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Redis holds %q", text)
		}
	}
	if n := c.Stats().Corrupt; n == 0 {
		t.Error("not counted")
	}
}

func TestNoEmailAndNoPasswordLeaves(t *testing.T) {
	t.Parallel()
	r := cachetest.Start(t, "--user", "userd", "on", ">secret-word", "~userd:*", "+@all", "--user", "default", "on", "nopass", "~*", "+@all")
	b := &bundle{store: newFakeStore(), redis: r, url: strings.Replace(r.URL(), "unix://", "unix://userd:secret-word@", 1)}
	log := new(transcript.Log)
	c, err := New(b.store, Config{Redis: b.url, Logger: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	u, err := c.Create(t.Context(), store.NewUser{ID: cachetest.UserID(1), Email: "someone@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for !c.Stats().Trusted {
		_, _ = c.Get(t.Context(), u.ID)
	}
	for range 3 {
		if _, err := c.GetByEmail(t.Context(), u.Email); err != nil {
			t.Fatal(err)
		}
	}
	r.Kill()
	for c.Stats().Trusted {
		_, _ = c.Get(t.Context(), u.ID)
	}
	r.Up()
	listed := r.Do("KEYS", "*")
	keys, _ := listed.AsStrSlice()
	all := log.String() + strings.Join(keys, " ")
	for _, secret := range []string{"someone", "secret-word"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in %s", secret, all)
		}
	}
	_, err = Check(t.Context(), b.store, Config{Redis: strings.Replace(b.url, "secret-word", "wrong-secret-word", 1)}, 0)
	if err == nil || strings.Contains(err.Error(), "secret-word") {
		t.Errorf("error %v, want one without the password", err)
	}
	_, err = New(b.store, Config{Redis: "redis://userd:secret-word@:bad:port"})
	if !errors.Is(err, ErrRedisURL) || strings.Contains(err.Error(), "secret-word") {
		t.Errorf("error %v, want ErrRedisURL without the password", err)
	}
}

func TestRedisIsOptional(t *testing.T) {
	t.Parallel()
	b := onRedis(t)
	b.redis.Kill()
	b.lines = make(lines, 1000)
	c, err := New(b.store, Config{Redis: b.url, Logger: slog.New(b.lines)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	u := b.user(t)
	look(t, c, u.ID, 1)
	b.lines.await(t, "cache is bypassed")
	rename(t, c, u.ID, "two")
	look(t, c, u.ID, 2)
	b.redis.Up()
	b.lines.await(t, "cache is trusted")
	warm(t, c, u.ID, 2)
	b.redis.Kill()
	b.lines.await(t, "cache is bypassed")
	look(t, c, u.ID, 2)
	b.redis.RestartEmpty()
	b.lines.await(t, "cache is trusted")
	warm(t, c, u.ID, 2)
}

// A lost watermark begins where the values that are left have everything.
func TestLostWatermark(t *testing.T) {
	t.Parallel()
	b := onRedis(t)
	c := b.open(t)
	u := b.user(t)
	warm(t, c, u.ID, 1)
	c.Close()
	rename(t, b.store, u.ID, "two")
	b.redis.Do("DEL", c.backend.(*redis).keys.mark(0))
	c = b.open(t)
	look(t, c, u.ID, 2)
}

// halting is a backend whose relay can be held up.
type halting struct {
	backend
	halted atomic.Bool
}

func (b *halting) marks(ctx context.Context) ([]store.Cursor, error) {
	if b.halted.Load() {
		return nil, errAway
	}
	return b.backend.marks(ctx)
}

// A Redis that is flushed while it is used needs nothing of what is in the change log.
func TestFlushedRedisNeedsNoReplay(t *testing.T) {
	t.Parallel()
	b, h := onRedis(t), new(halting)
	u, other := b.user(t), b.user(t)
	b.lines = make(lines, 1000)
	c, err := openWeak(b.store, Config{Redis: b.url, Logger: slog.New(b.lines)}, func(c *Cache) backend {
		h.backend = c.backend
		return h
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	b.lines.await(t, "cache is trusted")
	warm(t, c, u.ID, 1)
	before := c.Stats().Relayed
	h.halted.Store(true)
	b.redis.Do("FLUSHALL")
	const token = "0123456789abcdef" // Of a server that has not heard of it.
	if acquire(t, h, userKey(other.ID), token) {
		fillAs(t, h, userKey(other.ID), token, 1)
	}
	b.lines.await(t, "cache is not trusted")
	h.halted.Store(false)
	b.lines.await(t, "cache is trusted")
	if n := c.Stats().Relayed - before; n > 0 {
		t.Errorf("when it was trusted again %d changes from before had been relayed, want none", n)
	}
	warm(t, c, u.ID, 1)
}

func TestWatermarkOfAnExpiredLog(t *testing.T) {
	t.Parallel()
	b := onRedis(t)
	c := b.open(t)
	b.redis.Do("SET", c.backend.(*redis).keys.mark(0), "not a cursor")
	u := b.user(t)
	rename(t, c, u.ID, "two")
	c.caughtUp(t)
	look(t, c, u.ID, 2)
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := cachetest.StartSentinel(t, nil)
	b := &bundle{store: newFakeStore(), url: s.URL()}
	c := b.open(t)
	u := b.user(t)
	warm(t, c, u.ID, 1)
	s.Primary.Kill()
	b.lines.await(t, "cache is bypassed")
	rename(t, c, u.ID, "two")
	s.AwaitFailover()
	b.lines.await(t, "cache is trusted")
	warm(t, c, u.ID, 2)
}

// One address stands for the primary, as with a managed Redis: when a replica takes
// over, old connections stay on the node that was demoted.
func TestDemotedNode(t *testing.T) {
	t.Parallel()
	for name, demote := range map[string]func(t *testing.T, old, replica *cachetest.Redis, address *cachetest.Proxy){
		"the address moves at once": func(_ *testing.T, old, replica *cachetest.Redis, address *cachetest.Proxy) {
			address.Move(replica)
			replica.Succeed(old)
		},
		"the address moves late": func(t *testing.T, old, replica *cachetest.Redis, address *cachetest.Proxy) {
			replica.Succeed(old)
			cachetest.Run(t, time.Second)
			address.Move(replica)
		},
		"the new primary dies later": func(t *testing.T, old, replica *cachetest.Redis, address *cachetest.Proxy) {
			replica.Succeed(old)
			replica.Kill()
			old.Set("replica-serve-stale-data", "no")
			cachetest.Run(t, time.Second)
			replica.RestartEmpty()
			address.Move(replica)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old := cachetest.StartTCP(t)
			replica, address := cachetest.StartReplica(t, old), cachetest.StartProxy(t, old)
			b := &bundle{store: newFakeStore(), url: address.URL()}
			here := b.open(t)
			hereLines := b.lines
			there := b.open(t)
			thereLines := b.lines
			u := b.user(t)
			warm(t, here, u.ID, 1)
			warm(t, there, u.ID, 1)
			demote(t, old, replica, address)
			for _, logged := range []lines{hereLines, thereLines} { // Without any write.
				for got := (line{}); got.cause != "demoted" && got.cause != "replica_without_primary"; {
					got = logged.await(t, "cache is bypassed")
				}
				logged.await(t, "cache is trusted")
			}
			rename(t, here, u.ID, "two")
			warm(t, here, u.ID, 2)
			for e := (Entry{}); e.Version != 2; {
				var err error
				if e, err = there.Lookup(t.Context(), u.ID, Read{}); err != nil {
					t.Fatal(err)
				}
			}
			if text := replica.Do("GET", b.name(u.ID)); text.IsNil() {
				t.Error("the new primary does not hold the user")
			}
		})
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := cachetest.StartCluster(t, nil)
	b := &bundle{store: newFakeStore(), url: cluster.URL()}
	here, there := b.open(t), b.open(t)
	var ids []string
	for range 100 {
		ids = append(ids, b.user(t).ID)
	}
	entries, err := here.LookupMany(t.Context(), ids, Read{})
	if err != nil || slices.ContainsFunc(entries, func(e Entry) bool { return !e.Found }) {
		t.Fatalf("many: %v", err)
	}
	for _, id := range ids {
		warm(t, there, id, 1)
		rename(t, here, id, "two")
		look(t, here, id, 2)
		for e := (Entry{}); e.Version != 2; {
			if e, err = there.Lookup(t.Context(), id, Read{}); err != nil {
				t.Fatal(err)
			}
		}
		warm(t, there, id, 2) // It may have come from the store.
	}
	for i, node := range cluster.Nodes {
		listed := node.Do("KEYS", "*:u:*")
		if keys, _ := listed.AsStrSlice(); len(keys) == 0 {
			t.Errorf("node %d holds nothing", i)
		}
	}
	report, err := Check(t.Context(), b.store, Config{Redis: b.url}, 100_000)
	if err != nil || report.Entries != len(ids) || len(report.Stale) > 0 {
		t.Errorf("cached against stored: %+v, %v", report, err)
	}
}

func TestCheckTellsStaleEntries(t *testing.T) {
	t.Parallel()
	b := onRedis(t)
	c := b.open(t)
	stale, deleted, fine := b.user(t), b.user(t), b.user(t)
	for _, u := range []store.User{stale, deleted, fine} {
		warm(t, c, u.ID, 1)
	}
	old, older := b.redis.Do("GET", b.name(stale.ID)), b.redis.Do("GET", b.name(deleted.ID))
	rename(t, c, stale.ID, "two")
	if _, err := c.Delete(t.Context(), deleted.ID, 0); err != nil {
		t.Fatal(err)
	}
	c.caughtUp(t)
	for id, raw := range map[string]interface{ ToString() (string, error) }{stale.ID: &old, deleted.ID: &older} {
		text, _ := raw.ToString()
		b.redis.Do("SET", b.name(id), text)
	}
	report, err := Check(context.Background(), b.store, Config{Redis: b.url}, 100_000)
	if err != nil || report.Entries != 3 || len(report.Stale) != 2 || report.Corrupt != 0 {
		t.Errorf("found %+v, %v, want two stale of three", report, err)
	}
}

// caughtUp returns when all watermarks have all that the store has now.
func (c *Cache) caughtUp(t testing.TB) {
	t.Helper()
	head, err := c.Store.Head(store.Vital(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		marks, err := c.backend.marks(t.Context())
		if err == nil && !slices.ContainsFunc(marks, func(mark store.Cursor) bool { return !c.Covers(mark, head) }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the watermarks are at %v, %v, want %v", marks, err, head)
		}
	}
}
