package cache

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	Load     cachetest.Load
	Redis    string
	Database string        // As openStore takes it.
	History  string        // Path of the file to write operations to.
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

// recorder writes operations to the history, at most a moment after they began or ended.
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

// end writes what there is, and has all wait who have more to record.
func (r *recorder) end() {
	r.mu.Lock()
	_ = r.buffer.Flush()
}

// Handle records the changes of state that the cache logs.
func (r *recorder) Handle(_ context.Context, line slog.Record) error {
	kind := cachetest.Untrusted
	if line.Message == "cache is trusted" {
		kind = cachetest.Trusted
	}
	r.record(cachetest.Op{Kind: kind, Start: cachetest.Now()})
	return nil
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }

// slowStore is slow to return some of what it has read, as over a slow network.
type slowStore struct {
	store.Store
	settings peerSettings
}

func (s slowStore) Get(ctx context.Context, id string) (store.User, error) {
	u, err := s.Store.Get(ctx, id)
	if rand.Float64() < s.settings.Slow {
		<-time.After(rand.N(s.settings.SlowFor))
	}
	return u, err
}

func (s slowStore) Changes(ctx context.Context, after store.Cursor, limit int) ([]store.Change, store.Cursor, error) {
	<-time.After(s.settings.Relay)
	return s.Store.Changes(context.WithoutCancel(ctx), after, limit)
}

// openStore opens the store of a drill: the URL of a PostgreSQL database, or the
// path of a SQLite file, which all peers share, and which is made for the first.
func openStore(ctx context.Context, database string) (store.Store, error) {
	if strings.HasPrefix(database, "postgres") {
		return postgres.Open(ctx, postgres.Config{URL: database})
	}
	if _, err := os.Stat(database); errors.Is(err, fs.ErrNotExist) {
		owner, err := sqlite.Open(ctx, sqlite.Config{Path: database})
		if err != nil {
			return nil, err
		}
		if err := owner.Close(); err != nil {
			return nil, err
		}
	}
	return sqlite.Open(ctx, sqlite.Config{Path: database, Shared: true})
}

// process is a peer at work.
type process struct {
	settings peerSettings
	cache    *Cache
	recorder *recorder
	dying    atomic.Bool
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
		server: settings.Load.Server, file: file, buffer: bufio.NewWriterSize(file, 1<<20),
	}}
	config := Config{Redis: settings.Redis, Logger: slog.New(p.recorder)}
	if p.cache, err = openWeak(slowStore{s, settings}, config, p.weaken); err != nil {
		return err
	}
	return p.serve()
}

// weaken returns the backend of a cache without what the test wants broken.
func (p *process) weaken(c *Cache) backend {
	weak := c.backend
	switch p.settings.Broken {
	case "lease check":
		weak = anyLease{c.backend.(*redis)}
	case "floor":
		weak = floorless{c.backend, c.floors}
	case "trust":
		weak = trusting{c.backend, c.clock}
	case "relay":
		weak = relayless{trusting{c.backend, c.clock}}
	}
	return dying{weak, p.committed}
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
			clients.Go(func() { p.settings.Load.Run(loaded, served{p.cache}, p.recorder.record) })
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
	user := cachetest.UserNumber(changes[0].key.name)
	if !p.dying.Load() || len(changes) != 1 || user >= uint32(p.settings.Load.Users) { // Only this server reads the others.
		return
	}
	p.recorder.record(cachetest.Op{
		Kind: cachetest.Update, User: user, Version: changes[0].version,
		Start: cachetest.Now() - int64(startBefore), End: cachetest.Now(),
	})
	p.recorder.end() // What begins now does not happen.
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {}
}

// startBefore is longer than any write takes.
const startBefore = 20 * time.Second

// served is a cache as a load sees it.
type served struct{ cache *Cache }

func (s served) Read(ctx context.Context, ids []string, minVersion int64, noCache bool) ([]cachetest.Shown, error) {
	entries, err := s.look(ctx, ids, Read{MinVersion: minVersion, NoCache: noCache})
	if err != nil {
		return nil, err
	}
	shown := make([]cachetest.Shown, len(entries))
	for i, e := range entries {
		if shown[i], err = s.shown(e); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

func (s served) shown(e Entry) (cachetest.Shown, error) {
	u, err := s.cache.decode(e, nil)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return cachetest.Shown{Version: e.Version, Found: e.Found, Name: u.DisplayName}, err
}

// Search pages through all users with a part of a name.
func (s served) Search(ctx context.Context, id, name string) (shown cachetest.Shown, err error) {
	for query := (store.Query{NameContains: strings.ToUpper(name), Limit: 10}); ; {
		page, err := s.cache.List(ctx, query)
		if err != nil {
			return cachetest.Shown{}, err
		}
		for _, u := range page.Users {
			if u.ID == id {
				shown = cachetest.Shown{Version: u.Version, Found: true, Name: u.DisplayName}
			}
		}
		if query.After = page.Next; query.After == (store.Position{}) {
			return shown, nil
		}
	}
}

func (s served) look(ctx context.Context, ids []string, read Read) ([]Entry, error) {
	if len(ids) > 1 {
		return s.cache.LookupMany(ctx, ids, read)
	}
	e, err := s.cache.Lookup(ctx, ids[0], read)
	return []Entry{e}, err
}

func (s served) ReadByEmail(ctx context.Context, email string) (cachetest.Shown, error) {
	e, err := s.cache.LookupByEmail(ctx, email, Read{})
	if err != nil {
		return cachetest.Shown{}, err
	}
	return s.shown(e)
}

func (s served) Create(ctx context.Context, id string) (int64, error) {
	u, err := s.cache.Create(ctx, store.NewUser{ID: id, Email: cachetest.Email(id), DisplayName: cachetest.Name(id)})
	return u.Version, err
}

func (s served) Update(ctx context.Context, id, name string) (int64, error) {
	u, err := s.cache.Update(ctx, store.Update{ID: id, DisplayName: &name})
	return u.Version, err
}

func (s served) Delete(ctx context.Context, id string) (int64, error) {
	return s.cache.Delete(ctx, id, 0)
}
