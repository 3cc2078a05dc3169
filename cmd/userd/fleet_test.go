//go:build !race

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/cache/cachetest"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/storetest"
	"github.com/example/userd/store/storetest/transcript"
)

// fleet is servers, each a process of its own, over one PostgreSQL and one Redis,
// with clients that read and write through all of them.
type fleet struct {
	t        *testing.T
	database string
	store    store.Store // The same database, for a look behind the servers.
	load     cachetest.Load
	redis    func() (url string, proxy *cachetest.Proxy) // The way of the next server to Redis.
	servers  []*member
	changed  chan struct{} // Gets one when a server trusts its cache, or no longer.
	reads    atomic.Int64
	logged   transcript.Log
	epoch    int64 // What the clock of histories says beyond that of logs.

	mu      sync.Mutex
	ops     []cachetest.Op
	started uint16
	healed  []healing
}

// healing is the end of a fault, and when all servers trusted their caches again.
type healing struct {
	fault    string
	servers  []uint16
	at, upTo int64
}

// member is one server of a fleet.
type member struct {
	*process
	fleet   *fleet
	number  uint16
	client  userv1connect.UserServiceClient
	proxy   *cachetest.Proxy // Nil where there is none.
	dying   atomic.Bool
	trusted atomic.Bool
	leave   context.CancelFunc // Ends the clients.
	clients sync.WaitGroup
}

const fleetSize = 3

// startFleet makes the users, starts the servers, and lets clients loose on them.
func startFleet(t *testing.T, load cachetest.Load, redis func() (string, *cachetest.Proxy)) *fleet {
	t.Helper()
	f := &fleet{t: t, load: load, redis: redis, changed: make(chan struct{}, 1), epoch: epoch()}
	f.database = storetest.Postgres(t, migrate)
	if *older != "" {
		f.startOlder()
	}
	if _, err := postgres.Migrate(t.Context(), postgres.Config{URL: f.database}); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.store, err = postgres.Open(t.Context(), postgres.Config{URL: f.database}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.store.Close() })
	ids := cachetest.Founders()
	for i := range load.Users {
		ids = append(ids, cachetest.UserID(uint32(i)))
		f.ops = append(f.ops, cachetest.Op{Kind: cachetest.Create, User: uint32(i), Version: 1, Start: 1, End: 2})
	}
	users := make([]store.NewUser, len(ids))
	for i, id := range ids {
		users[i] = store.NewUser{ID: id, Email: cachetest.Email(id), DisplayName: cachetest.Name(id)}
	}
	if _, err := f.store.Import(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	for len(f.servers) < fleetSize {
		f.start(userdPath(t))
	}
	for _, m := range f.servers {
		m.begin()
	}
	f.settle("the start")
	return f
}

// migrate makes the tables as the older program has them, if there is one.
func migrate(ctx context.Context, database string) error {
	if *older == "" {
		_, err := postgres.Migrate(ctx, postgres.Config{URL: database})
		return err
	}
	out, err := exec.CommandContext(ctx, *older, "migrate", "up", "--database", database).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// startOlder starts servers of the older program, which run on when the tables get newer,
// but do not start again.
func (f *fleet) startOlder() {
	f.t.Helper()
	for range fleetSize - 1 {
		f.start(*older)
	}
}

// epoch compares the clock of histories with that of logs.
func epoch() int64 {
	for {
		before := cachetest.Now()
		wall := time.Now().UnixNano()
		if cachetest.Now()-before < int64(100*time.Microsecond) { // Nothing came between.
			return before - wall
		}
	}
}

// start starts a server.
func (f *fleet) start(program string) {
	f.t.Helper()
	f.started++
	m := &member{fleet: f, number: f.started}
	var url string
	url, m.proxy = f.redis()
	m.process = start(f.t, io.MultiWriter(&f.logged, m.listen()), exec.Command(program,
		serveArgs([]string{"--database", f.database, "--redis", url, "--log-format", "json"})...))
	m.client = grpcClient(f.t, m.url)
	f.servers = append(f.servers, m)
}

// begin starts the clients.
func (m *member) begin() {
	load := m.fleet.load
	load.Server = m.number
	ctx, cancel := context.WithCancel(m.fleet.t.Context())
	m.leave = cancel
	m.clients.Go(func() { load.Run(ctx, m, m.record) })
}

// listen returns what the server's log is to be written to: its changes of state
// become part of the history.
func (m *member) listen() io.Writer {
	read, write := io.Pipe()
	done := make(chan struct{})
	m.fleet.t.Cleanup(func() {
		write.Close()
		<-done
	})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(read); lines.Scan(); {
			var line struct {
				Time time.Time
				Msg  string
			}
			if json.Unmarshal(lines.Bytes(), &line) != nil || !strings.HasPrefix(line.Msg, "cache is ") {
				continue
			}
			op := cachetest.Op{Kind: cachetest.Untrusted, Start: line.Time.UnixNano() + m.fleet.epoch}
			if line.Msg == "cache is trusted" {
				op.Kind = cachetest.Trusted
			}
			m.record(op)
			m.trusted.Store(op.Kind == cachetest.Trusted)
			select {
			case m.fleet.changed <- struct{}{}:
			default:
			}
		}
	}()
	return write
}

// record adds to the history. What fails because the test kills the server may have
// happened or not.
func (m *member) record(op cachetest.Op) {
	op.Server = m.number
	if op.Failed && m.dying.Load() {
		op.Failed, op.End = false, 0
	}
	if op.Kind == cachetest.Get && !op.Failed {
		m.fleet.reads.Add(1)
	}
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	m.fleet.ops = append(m.fleet.ops, op)
}

// Read is that of cachetest.Server.
func (m *member) Read(ctx context.Context, ids []string, minVersion int64, noCache bool) ([]cachetest.Shown, error) {
	if len(ids) > 1 {
		return m.readMany(ctx, ids)
	}
	ctx, call := connect.NewClientContext(ctx)
	if noCache {
		call.RequestHeader().Set("Cache-Control", "no-cache")
	}
	resp, err := m.client.GetUser(ctx, &userv1.GetUserRequest{UserId: ids[0], MinVersion: minVersion})
	return []cachetest.Shown{shownUser(resp.GetUser())}, m.tell(err)
}

func (m *member) readMany(ctx context.Context, ids []string) ([]cachetest.Shown, error) {
	resp, err := m.client.BatchGetUsers(ctx, &userv1.BatchGetUsersRequest{UserIds: ids})
	users := resp.GetUsers()
	all := make([]cachetest.Shown, len(ids))
	for i, id := range ids {
		if len(users) > 0 && users[0].GetId() == id {
			all[i] = shownUser(users[0])
			users = users[1:]
		}
	}
	return all, m.tell(err)
}

// ReadByEmail is that of cachetest.Server.
func (m *member) ReadByEmail(ctx context.Context, email string) (cachetest.Shown, error) {
	resp, err := m.client.GetUserByEmail(ctx, &userv1.GetUserByEmailRequest{Email: email})
	return shownUser(resp.GetUser()), m.tell(err)
}

func shownUser(u *userv1.User) cachetest.Shown {
	return cachetest.Shown{Version: u.GetVersion(), Found: u != nil, Name: u.GetDisplayName()}
}

// Search is that of cachetest.Server. It tells of users who do not have the name.
func (m *member) Search(ctx context.Context, id, name string) (cachetest.Shown, error) {
	var found cachetest.Shown
	for req := (&userv1.SearchUsersRequest{NameContains: strings.ToUpper(name)}); ; {
		resp, err := m.client.SearchUsers(ctx, req)
		if err != nil {
			return cachetest.Shown{}, m.tell(err)
		}
		for _, u := range resp.GetUsers() {
			if !strings.Contains(u.GetDisplayName(), name) {
				m.fleet.t.Errorf("server %d: a search for %q shows %q", m.number, name, u.GetDisplayName())
			}
			if u.GetId() == id {
				found = shownUser(u)
			}
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return found, nil
		}
	}
}

// Create is that of cachetest.Server.
func (m *member) Create(ctx context.Context, id string) (int64, error) {
	resp, err := m.client.CreateUser(ctx, &userv1.CreateUserRequest{UserId: id, Email: cachetest.Email(id), DisplayName: cachetest.Name(id)})
	return resp.GetUser().GetVersion(), m.tell(err)
}

// Update is that of cachetest.Server.
func (m *member) Update(ctx context.Context, id, name string) (int64, error) {
	resp, err := m.client.UpdateUser(ctx, &userv1.UpdateUserRequest{Update: &userv1.UserUpdate{UserId: id, DisplayName: &name}})
	return resp.GetUser().GetVersion(), m.tell(err)
}

// Delete is that of cachetest.Server.
func (m *member) Delete(ctx context.Context, id string) (int64, error) {
	resp, err := m.client.DeleteUser(ctx, &userv1.DeleteUserRequest{UserId: id})
	return resp.GetVersion(), m.tell(err)
}

// tell shows an error that no client should see, and returns it.
func (m *member) tell(err error) error {
	if err != nil && !m.dying.Load() {
		m.fleet.t.Logf("server %d: %v", m.number, err)
	}
	return err
}

// run goes through faults, with some time under load after each.
func (f *fleet) run(faults []cachetest.Fault) {
	for _, fault := range faults {
		fault.Do()
		f.settle(fault.Name)
	}
}

const (
	// rest is how long servers have to notice a fault that is over already, and the
	// least time between two.
	rest = time.Second

	// settleTimeout is longer than any server should take to trust its cache again.
	settleTimeout = 10 * time.Second
)

// settle notes the end of a fault, and returns when all servers trust their caches,
// or have had much more time for it than they may take.
func (f *fleet) settle(fault string) {
	h := healing{fault: fault, at: cachetest.Now()}
	for _, m := range f.servers {
		h.servers = append(h.servers, m.number)
	}
	enough := time.NewTimer(settleTimeout)
	defer enough.Stop()
	cachetest.Run(f.t, rest)
	for waiting := true; waiting && !f.allTrusted(); {
		select {
		case <-f.changed:
		case <-enough.C:
			waiting = false
		}
	}
	h.upTo = cachetest.Now()
	f.healed = append(f.healed, h)
}

func (f *fleet) allTrusted() bool {
	for _, m := range f.servers {
		if !m.trusted.Load() {
			return false
		}
	}
	return true
}

// killOne kills a server between a commit and its apply, as far as Redis and the
// other servers can tell, and starts another: nothing that the server sends to Redis
// arrives any more, it commits a change, and is killed as soon as that is in the
// store. Where there is no proxy, its apply may have come first.
func (f *fleet) killOne() {
	f.t.Helper()
	victim := f.servers[0]
	id := cachetest.UserID(uint32(f.load.Users - 1)) // Nobody else changes this user.
	before, err := f.store.Get(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	victim.dying.Store(true)
	if victim.proxy != nil {
		victim.proxy.LoseRequests(true)
	}
	op := cachetest.Op{Kind: cachetest.Update, User: uint32(f.load.Users - 1), Version: before.Version + 1, Start: cachetest.Now()}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = victim.Update(context.Background(), id, fmt.Sprint("last words of ", victim.number))
	}()
	f.awaitVersion(id, op.Version, answered)
	op.End = cachetest.Now()
	_ = victim.cmd.Process.Kill()
	_ = victim.cmd.Wait()
	<-answered
	victim.leave()
	victim.clients.Wait()
	f.mu.Lock()
	f.ops = append(f.ops, op) // By no server: all must show it within X.
	f.mu.Unlock()
	f.servers = f.servers[1:]
	f.start(userdPath(f.t))
	f.servers[fleetSize-1].begin()
}

// awaitVersion returns when a user is at a version in the store. That it is not,
// though the call that makes it has ended, ends the test.
func (f *fleet) awaitVersion(id string, version int64, answered <-chan struct{}) {
	f.t.Helper()
	for over := false; ; {
		u, err := f.store.Get(f.t.Context(), id)
		if err != nil {
			f.t.Fatal(err)
		}
		if u.Version == version {
			return
		}
		if over {
			f.t.Fatalf("user %s is at version %d after its update, want %d", id, u.Version, version)
		}
		select {
		case <-answered:
			over = true
		default:
		}
	}
}

// finish ends the clients, scans what is left in Redis while the servers still relay,
// ends the servers, and returns the history.
func (f *fleet) finish(redis string) []cachetest.Op {
	f.t.Helper()
	for _, m := range f.servers {
		m.leave()
	}
	for _, m := range f.servers {
		m.clients.Wait()
	}
	f.scan(redis)
	for _, m := range f.servers {
		if err := m.stop(f.t); err != nil {
			f.t.Errorf("server %d: %v", m.number, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// scan runs userd cache check on what the servers left in Redis.
func (f *fleet) scan(redis string) {
	f.t.Helper()
	out, err := exec.Command(userdPath(f.t), "cache", "check", "--database", f.database, "--redis", redis, "--rate", "100000").CombinedOutput()
	f.logged.Write(out)
	f.t.Logf("userd cache check: %s", out)
	if err != nil || !strings.Contains(string(out), " 0 stale, 0 corrupt") || strings.Contains(string(out), "compared 0 entries") {
		f.t.Errorf("userd cache check: %v: %s", err, out)
	}
}
