package cache

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/example/userd/cache/cachetest"
	"github.com/example/userd/store"
	"github.com/example/userd/store/postgres"
	"github.com/example/userd/store/sqlite"
)

// peerVariable holds the settings of a peer: a process of its own with a cache
// over the common store, whose clients read and write as told on its standard
// input, and write down what they saw.
const peerVariable = "USERD_CACHE_TEST_PEER"

// peerSettings travel from the test to the peer.
type peerSettings struct {
	Server   uint16
	Redis    string
	Database string // As openStore takes it.
	History  string // Path of the file to write operations to.
	Clients  int
	Users    int           // Common users, numbered from 0.
	Updates  float64       // Share of what clients do.
	NoCache  float64       // Share of what clients do.
	Fleet    float64       // Share of what clients do: a user that is created, changed and deleted.
	Slow     float64       // Share of the reads of the store that are slow to return.
	SlowFor  time.Duration // How slow, at most.
	Relay    time.Duration // How slow the change log is to read.
	Broken   string        // Part of the protocol to switch off.
}

// What the test tells a peer, a line each. At the end of its input a peer ends.
const (
	commandLoad = "load" // Clients read and write.
	commandIdle = "idle" // They stop; answered when they have.
	commandDie  = "die"  // The next writer is killed between its commit and its apply.
)

// The pace of a client and the shares of what it does; the rest are reads through
// the cache.
const (
	peerTick     = 2 * time.Millisecond
	peerBurst    = 3
	shareNoCache = 0.02  // Where the test says nothing else.
	shareUpdate  = 0.01  // Where the test says nothing else.
	shareFleet   = 0.002 // Where the test says nothing else.
	shareMinimum = 0.05  // Reads that ask for the version that the client has seen.
	shareSlow    = 0.05  // Where the test says nothing else.
)

// now is a clock that all processes on this machine share, in nanoseconds.
func now() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}

func userID(number uint32) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", number) }

func userNumber(id string) uint32 {
	n, _ := strconv.ParseUint(id[max(0, len(id)-12):], 10, 32)
	return uint32(n)
}

// recorder writes operations to the history, at most a moment after they ended.
type recorder struct {
	server uint16
	mu     sync.Mutex
	file   *os.File
	buffer *bufio.Writer
}

func (r *recorder) record(op cachetest.Op) {
	op.Server = r.server
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = op.Write(r.buffer)
}

func (r *recorder) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.buffer.Flush()
}

// Handle records the changes of state that the cache logs.
func (r *recorder) Handle(_ context.Context, line slog.Record) error {
	kind := cachetest.Untrusted
	if line.Message == "cache is trusted" {
		kind = cachetest.Trusted
	}
	r.record(cachetest.Op{Kind: kind, Start: now()})
	return nil
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }

// slowStore is slow to return some of what it has read.
type slowStore struct {
	store.Store
	settings peerSettings
}

func (s slowStore) Get(ctx context.Context, id string) (store.User, error) {
	u, err := s.Store.Get(ctx, id)
	if rand.Float64() < s.settings.Slow {
		time.Sleep(rand.N(s.settings.SlowFor)) // What a slow network does.
	}
	return u, err
}

func (s slowStore) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	time.Sleep(s.settings.Relay)
	return s.Store.Changes(context.WithoutCancel(ctx), after, limit)
}

// openStore opens the store of a drill: the URL of a PostgreSQL database, or the
// path of a SQLite file.
func openStore(ctx context.Context, database string) (store.Store, error) {
	if strings.HasPrefix(database, "postgres") {
		return postgres.Open(ctx, postgres.Config{URL: database})
	}
	return sqlite.Open(ctx, sqlite.Config{Path: database})
}

// process is a peer at work.
type process struct {
	settings peerSettings
	cache    *Cache
	recorder *recorder
	dying    atomic.Bool
	fleeting atomic.Uint32
}

func runPeer(text string) error {
	var settings peerSettings
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return err
	}
	file, err := os.Create(settings.History)
	if err != nil {
		return err
	}
	s, err := openStore(context.Background(), settings.Database)
	if err != nil {
		return err
	}
	p := &process{settings: settings, recorder: &recorder{
		server: settings.Server, file: file, buffer: bufio.NewWriterSize(file, 1<<20),
	}}
	config := Config{Redis: settings.Redis, Logger: slog.New(p.recorder), broken: broken{committed: p.committed}}
	switch settings.Broken {
	case "lease check":
		config.broken.anyLease = true
	case "floor":
		config.broken.noFloor = true
	case "trust":
		config.broken.noTrust = true
	case "relay":
		config.broken.noRelay = true
	}
	if p.cache, err = New(slowStore{s, settings}, config); err != nil {
		return err
	}
	return p.serve()
}

// serve does what the test says.
func (p *process) serve() error {
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	clients.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				p.recorder.flush()
			case <-ctx.Done():
				return
			}
		}
	})
	loaded, stop := context.WithCancel(ctx)
	defer stop()
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case commandLoad:
			for i := range p.settings.Clients {
				clients.Go(func() { p.client(loaded, uint16(i)) })
			}
		case commandIdle:
			stop()
			fmt.Println("idle")
		case commandDie:
			p.dying.Store(true)
		}
	}
	cancel()
	clients.Wait()
	p.recorder.flush()
	return errors.Join(p.cache.Close(), p.recorder.file.Close())
}

// committed kills the process between commit and apply where it was told to, and
// leaves word of the commit.
func (p *process) committed(changes []change) {
	user := userNumber(changes[0].key.name)
	if !p.dying.Load() || len(changes) != 1 || user >= uint32(p.settings.Users) { // Only this server reads the others.
		return
	}
	p.recorder.record(cachetest.Op{
		Kind: cachetest.Update, User: user, Version: changes[0].version,
		Start: now() - int64(startBefore), End: now(),
	})
	p.recorder.flush()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// startBefore is longer than any write takes.
const startBefore = 20 * time.Second

// client reads and writes until the context ends.
func (p *process) client(ctx context.Context, number uint16) {
	tick := time.NewTicker(peerTick)
	defer tick.Stop()
	seen := make(map[uint32]int64)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for range peerBurst {
			p.act(number, seen)
		}
	}
}

// act does one thing, or a few with a fleeting user.
func (p *process) act(client uint16, seen map[uint32]int64) {
	user := uint32(rand.ExpFloat64()*float64(p.settings.Users)/4) % uint32(p.settings.Users)
	switch dice := rand.Float64(); {
	case dice < p.settings.NoCache:
		p.read(client, user, Read{NoCache: true})
	case dice < p.settings.NoCache+p.settings.Updates:
		p.update(client, user)
	case dice < p.settings.NoCache+p.settings.Updates+p.settings.Fleet:
		p.fleet(client)
	case dice < p.settings.NoCache+p.settings.Updates+p.settings.Fleet+shareMinimum:
		seen[user] = p.read(client, user, Read{MinVersion: seen[user]})
	default:
		seen[user] = max(seen[user], p.read(client, user, Read{}))
	}
}

func (p *process) read(client uint16, user uint32, read Read) int64 {
	op := cachetest.Op{Client: client, User: user, MinVersion: int32(read.MinVersion), Start: now()}
	if read.NoCache {
		op.Kind = cachetest.NoCache
	}
	e, err := p.cache.Lookup(context.Background(), userID(user), read)
	op.End, op.Version, op.Found, op.Failed = now(), e.Version, e.Found, err != nil
	p.recorder.record(op)
	return e.Version
}

func (p *process) update(client uint16, user uint32) {
	name := strconv.FormatInt(now(), 10)
	op := cachetest.Op{Client: client, User: user, Kind: cachetest.Update, Start: now()}
	u, err := p.cache.Update(context.Background(), store.Update{ID: userID(user), DisplayName: &name})
	op.End, op.Version, op.Failed = now(), u.Version, err != nil
	p.recorder.record(op)
}

// fleet reads a user that there is not yet, creates it, changes it and deletes it,
// with reads between.
func (p *process) fleet(client uint16) {
	user := uint32(p.settings.Server)*1_000_000 + p.fleeting.Add(1)
	p.read(client, user, Read{})
	op := cachetest.Op{Client: client, User: user, Kind: cachetest.Create, Start: now()}
	id := userID(user)
	u, err := p.cache.Create(context.Background(), store.NewUser{ID: id, Email: id + "@example.com", DisplayName: "fleeting"})
	op.End, op.Version, op.Failed = now(), u.Version, err != nil
	p.recorder.record(op)
	p.read(client, user, Read{})
	p.update(client, user)
	p.read(client, user, Read{})
	op = cachetest.Op{Client: client, User: user, Kind: cachetest.Delete, Start: now()}
	version, err := p.cache.Delete(context.Background(), id, 0)
	op.End, op.Version, op.Failed = now(), version, err != nil
	p.recorder.record(op)
	p.read(client, user, Read{})
}
