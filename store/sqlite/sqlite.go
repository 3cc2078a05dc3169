package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
	"github.com/example/userd/store/idle"
	"github.com/example/userd/store/stats"
)

// Config says where a store is. Everything but Path has a default.
type Config struct {
	// Path is the file. It is made if it does not exist, for its owner alone: it
	// has personal data and the store's secret. Its folder is not made.
	Path string
	// Shared opens a file that another process owns or may want to own, to read it as a
	// tool does: the file and its schema must be there. Without it the store is the only one
	// that owns the file: it returns an error while another does, and notices when the file
	// goes away.
	Shared bool
	// Logger receives what no caller is told; slog.Default() when nil.
	Logger *slog.Logger
	// Now is the clock of every time that is stored; time.Now when nil.
	Now func() time.Time
	// Readers is the number of connections for reading; 8 when 0. Calls that are marked
	// by store.Vital have one beside those.
	Readers int
	// PollInterval is the time between two looks for changes of other processes;
	// 100 ms when 0.
	PollInterval time.Duration
	// SpareProcessor has GOMAXPROCS be one more than the runtime's default while the store is
	// much at work: cached reads and other goroutines then wait less for it, most of all where there
	// is one processor. It is for programs that leave GOMAXPROCS alone.
	SpareProcessor bool
}

const (
	defaultReaders      = 8
	defaultPollInterval = 100 * time.Millisecond
	// busyTimeout is how long a statement waits for the lock of another process.
	busyTimeout = 5 * time.Second
)

// lastTickSQL is the latest time of a server that wrote to the file. No server makes a user
// later than it changes it: who was moved further is of another program.
const lastTickSQL = `select max(
	ifnull((select created_at from users where created_at <= updated_at order by created_at desc limit 1), 0),
	ifnull((select at from changes order by seq desc limit 1), 0))`

// Store is a store of users in a SQLite file.
type Store struct {
	reads    int   // Connections of readers.
	readers  *pool // For callers.
	vital    *pool // One connection, for calls that are marked by store.Vital.
	idle     *idle.Gate
	turns    *turns
	spare    *spare // Nil where there is none.
	writer   *writer
	log      *checkpointer
	names    *namer // Nil for a shared file.
	now      func() time.Time
	last     int64 // Latest tick; the writer's goroutine has it.
	identity store.Identity
	wake     *waker
	owner    *owner // Nil for a shared file.
	causes   store.Causes
	pages    stats.Plans

	byNameTime time.Duration // Of a search in the index of names.
	inVain     store.InVain[string]

	calls  sync.RWMutex // Held for reading by those who read.
	closed bool
}

var _ store.Store = (*Store)(nil)

// Open opens the store in config.Path and brings its schema up to date. It
// returns an error when the file was made by a newer program.
func Open(ctx context.Context, config Config) (*Store, error) {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Readers == 0 {
		config.Readers = defaultReaders
	}
	if config.PollInterval == 0 {
		config.PollInterval = defaultPollInterval
	}
	s, err := open(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Path, err)
	}
	return s, nil
}

func open(ctx context.Context, config Config) (_ *Store, err error) {
	if config.Path == "" || config.Path == ":memory:" {
		return nil, errors.New("the path names no file")
	}
	s := &Store{now: config.Now, reads: config.Readers, byNameTime: byNameTime, causes: store.Causes{Logger: config.Logger}}
	if !config.Shared {
		if s.owner, err = own(config.Path, config.Logger, &s.causes); err != nil {
			return nil, err
		}
	}
	if err := s.connect(ctx, config); err != nil {
		if s.owner != nil {
			_ = s.owner.release() // What went wrong is err.
		}
		return nil, translate(ctx, err)
	}
	return s, nil
}

// connect opens all connections of the store.
func (s *Store) connect(ctx context.Context, config Config) (err error) {
	if err := checkLog(resolve(config.Path)); err != nil {
		return err
	}
	var opened []io.Closer
	defer func() {
		if err != nil {
			for _, conn := range opened {
				_ = conn.Close() // What went wrong is err.
			}
		}
	}()
	conn, err := s.connectFirst(config.Path)
	if err != nil {
		return err
	}
	opened = append(opened, conn)
	if err := s.prepare(ctx, conn); err != nil {
		return err
	}
	if s.readers, err = readers(config.Path, config.Readers); err != nil {
		return err
	}
	opened = append(opened, s.readers)
	if s.vital, err = readers(config.Path, 1); err != nil {
		return err
	}
	opened = append(opened, s.vital)
	if s.idle, err = idle.New(); err != nil {
		return err
	}
	opened = append(opened, s.idle)
	s.turns = &turns{pace: pace{idle: s.idle}, processors: int32(spareProcessor.processors())}
	copier, err := connect(config.Path, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	opened = append(opened, copier)
	if s.wake, err = newWaker(config); err != nil {
		return err
	}
	if config.SpareProcessor {
		s.spare = &spareProcessor
	}
	s.writer = newWriter(conn, s.spare, func() error { return s.committed(conn) })
	s.log = newCheckpointer(copier, s.writer, config.Logger, s.copied)
	if s.owner != nil {
		s.names = newNamer(s.writer, s.wake, config.Logger)
	}
	return nil
}

func readers(path string, n int) (*pool, error) {
	conns, err := sqlitex.NewPool(path, sqlitex.PoolOptions{Flags: sqlite.OpenReadOnly, PoolSize: n, PrepareConn: configure})
	return &pool{Pool: conns, size: n}, err
}

// committed is called by the writer when writes are on disk. They are acknowledged
// when it returns nil.
func (s *Store) committed(conn *sqlite.Conn) error {
	s.wake.room.Wake()
	if s.owner == nil {
		return nil
	}
	head, err := scalar(conn, headSQL)
	if err != nil {
		return err
	}
	return s.owner.acknowledge(head)
}

// copied is called by the checkpointer, between two commits, when all of the log is in the file.
func (s *Store) copied() {
	if s.owner != nil {
		s.owner.copied()
	}
}

// prepare brings the file to the state that the store works with, and reads what
// the store keeps in memory.
func (s *Store) prepare(ctx context.Context, conn *sqlite.Conn) error {
	if err := s.prepareSchema(ctx, conn); err != nil {
		return err
	}
	// Imports touch pages all over the indexes: a larger cache (in KiB) makes them faster.
	// Commits leave the log to the checkpointer. What is deleted is overwritten with zeros.
	if err := pragmas(conn, `cache_size = -16000`, `wal_autocheckpoint = 0`, `secure_delete = on`); err != nil {
		return err
	}
	if err := disableTriggers(conn); err != nil {
		return err
	}
	if err := s.readIdentity(conn); err != nil {
		return err
	}
	if s.owner != nil {
		if err := s.owner.begin(conn, &s.identity); err != nil {
			return err
		}
	}
	var err error
	s.last, err = scalar(conn, lastTickSQL)
	return err
}

// prepareSchema brings the schema up to date. That of a shared file is the concern of its owner,
// who may be an older program that has it open.
func (s *Store) prepareSchema(ctx context.Context, conn *sqlite.Conn) error {
	if s.owner == nil {
		found, err := readSchema(conn)
		return cmp.Or(err, found.Check())
	}
	if err := migrate(ctx, conn); err != nil {
		return err
	}
	return useWAL(ctx, conn)
}

// useWAL has the file keep a write-ahead log. Where another process reads a new file meanwhile,
// SQLite does not wait for its lock.
func useWAL(ctx context.Context, conn *sqlite.Conn) error {
	giveUp := time.Now().Add(busyTimeout)
	for {
		err := pragmas(conn, `journal_mode = WAL`)
		if sqlite.ErrCode(err).ToPrimary() != sqlite.ResultBusy || time.Now().After(giveUp) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) readIdentity(conn *sqlite.Conn) error {
	return sqlitex.Execute(conn, `select incarnation, secret from meta`, &sqlitex.ExecOptions{
		ResultFunc: func(stmt *sqlite.Stmt) error {
			s.identity.Incarnation = stmt.ColumnText(0)
			if stmt.ColumnBytes(1, s.identity.Secret[:]) != len(s.identity.Secret) {
				return fmt.Errorf("the store's secret has %d bytes", stmt.ColumnLen(1))
			}
			return nil
		},
	})
}

// connectFirst opens the first connection. It makes the file if need be, unless that is to be
// another's.
//
// Its mode is set by name. A descriptor of our own would, when it is closed, take
// SQLite's locks on the file from every connection of this process.
func (s *Store) connectFirst(path string) (*sqlite.Conn, error) {
	_, missing := os.Stat(path)
	if s.owner == nil && missing != nil {
		return nil, missing
	}
	conn, err := connect(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil || !errors.Is(missing, fs.ErrNotExist) {
		return conn, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = conn.Close() // What went wrong is err.
		return nil, err
	}
	return conn, nil
}

// connect opens a connection with the settings that all of ours have.
func connect(path string, flags sqlite.OpenFlags) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(path, flags)
	if err != nil {
		return nil, err
	}
	if err := configure(conn); err != nil {
		_ = conn.Close() // What went wrong is err.
		return nil, err
	}
	return conn, nil
}

func configure(conn *sqlite.Conn) error {
	conn.SetBusyTimeout(busyTimeout)
	if err := pragmas(conn, `synchronous = FULL`, `temp_store = MEMORY`); err != nil {
		return err
	}
	return conn.CreateFunction("contains_fold", &sqlite.FunctionImpl{
		NArgs:         2,
		Deterministic: true,
		Scalar: func(_ sqlite.Context, args []sqlite.Value) (sqlite.Value, error) {
			if strings.Contains(store.FoldName(args[0].Text()), args[1].Text()) {
				return sqlite.IntegerValue(1), nil
			}
			return sqlite.IntegerValue(0), nil
		},
	})
}

// disableTriggers keeps the triggers of this schema from firing: they are for other
// programs, and the store does the same for many rows in one statement. A trigger that only
// finds out that it has nothing to do would cost as much as the write. The driver has no call
// for this setting of SQLite, so it is made with the handle in the driver's connection.
func disableTriggers(conn *sqlite.Conn) error {
	handle := reflect.ValueOf(conn).Elem().FieldByName("conn")
	if handle.Kind() != reflect.Uintptr {
		return errors.New("triggers cannot be disabled: the driver's connection has no handle")
	}
	tls := libc.NewTLS()
	defer tls.Close()
	off := libc.NewVaList(int32(0), uintptr(0)) // Nowhere to say what it is then.
	if off == 0 {
		return sqlite.ResultNoMem.ToError()
	}
	defer libc.Xfree(tls, off)
	result := lib.Xsqlite3_db_config(tls, uintptr(handle.Uint()), lib.SQLITE_DBCONFIG_ENABLE_TRIGGER, off)
	return sqlite.ResultCode(result).ToError()
}

func pragmas(conn *sqlite.Conn, settings ...string) error {
	for _, setting := range settings {
		if err := sqlitex.ExecuteTransient(conn, `pragma `+setting, nil); err != nil {
			return err
		}
	}
	return nil
}

// Capacity implements store.Store.
func (s *Store) Capacity() store.Capacity {
	return store.Capacity{Reads: s.reads, Writes: maxGroup, Rows: s.writer.rows()}
}

// Identity implements store.Store.
func (s *Store) Identity() store.Identity { return s.identity }

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(store.Vital(ctx), func(conn *sqlite.Conn) error {
		_, err := scalar(conn, `select count(*) from meta`)
		return err
	})
}

// Close implements store.Store. Closing twice is fine.
func (s *Store) Close() error {
	if s.owner != nil {
		s.owner.unwatch()
		s.names.close()
	}
	// The writer is the last: as the only one left it moves the log into the file.
	err := errors.Join(s.wake.close(), s.closeReaders(), s.log.close(), s.writer.close())
	if s.owner != nil {
		err = errors.Join(err, s.owner.release())
	}
	return err
}

func (s *Store) closeReaders() error {
	s.calls.Lock()
	defer s.calls.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.readers.Close(), s.vital.Close(), s.idle.Close())
}

// read runs f on a connection of its own. Several statements see one moment only
// within snapshot.
func (s *Store) read(ctx context.Context, f func(*sqlite.Conn) error) error {
	s.calls.RLock()
	defer s.calls.RUnlock()
	if s.closed {
		return errClosed
	}
	if s.owner != nil && s.owner.moved.Load() {
		return errMoved
	}
	readers := s.connections(ctx)
	conn, err := readers.take(ctx)
	if err == nil {
		defer readers.put(conn)
		if readers == s.readers {
			err = s.turns.begin()
			defer s.turns.end()
		}
		if err == nil {
			defer s.spare.worked(time.Now())
			err = f(conn)
		}
	}
	return s.seen(ctx, store.Reading, err)
}

// connections is the pool for a call that reads.
func (s *Store) connections(ctx context.Context) *pool {
	if store.IsVital(ctx) {
		return s.vital
	}
	return s.readers
}

// snapshot runs f on a connection whose statements all see one moment.
func (s *Store) snapshot(ctx context.Context, f func(*sqlite.Conn) error) error {
	return s.read(ctx, func(conn *sqlite.Conn) (err error) {
		defer sqlitex.Transaction(conn)(&err)
		return f(conn)
	})
}

// write runs f in a transaction and returns when it is committed.
func (s *Store) write(ctx context.Context, f func(*sqlite.Conn) error) error {
	return s.seen(ctx, store.Writing, s.writer.run(ctx, f))
}

// writeMany is write for an f that writes so many rows. It has a transaction of its
// own: a savepoint would make it remember every page that it changes.
func (s *Store) writeMany(ctx context.Context, rows int, f func(*sqlite.Conn) error) error {
	return s.seen(ctx, store.Writing, s.writer.runBulk(ctx, rows, f))
}

// seen translates what became of a call, and has the log told of it.
func (s *Store) seen(ctx context.Context, call store.Call, err error) error {
	err = translate(ctx, err)
	s.causes.See(ctx, call, err)
	return err
}

// tick returns the time now in microseconds, but later than any tick before: users
// are in the order of their creation, and the change log is in the order of time.
// Only writes may call it.
func (s *Store) tick() int64 {
	s.last = max(s.now().UnixMicro(), s.last+1)
	return s.last
}

// scalar runs a query for one integer.
func scalar(conn *sqlite.Conn, query string, args ...any) (int64, error) {
	var value int64
	err := sqlitex.Execute(conn, query, &sqlitex.ExecOptions{
		Args:       args,
		ResultFunc: func(stmt *sqlite.Stmt) error { value = stmt.ColumnInt64(0); return nil },
	})
	return value, err
}
