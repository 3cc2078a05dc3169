package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
)

// lookInterval is the time between two looks whether the file is still there.
const lookInterval = 250 * time.Millisecond

// errInUse: another process owns the file.
var errInUse = errors.New("another userd has this file open")

// errMoved: what is written now would go into a file that nobody finds.
var errMoved = store.Unavailable("the database file, or its -wal, was removed or replaced while userd had it open: restart userd", nil)

// owner holds a database file for one store. Beside the file it keeps another, PATH-lock,
// with a lock that ends with the process, and a mark that says what was acknowledged.
// Neither is needed to read the database.
type owner struct {
	path   string // Of the database, without symbolic links: two names of a file have one lock.
	lock   *os.File
	mark   mark
	logger *slog.Logger
	causes *store.Causes

	files map[string]fs.FileInfo // The database and its log, as they were opened.
	moved atomic.Bool
	stop  chan struct{}
	once  sync.Once
	wait  sync.WaitGroup

	released bool
}

// own takes the lock of a file, or returns errInUse. It reads no database, for SQLite
// must not before a log is known to belong to it.
func own(path string, logger *slog.Logger, causes *store.Causes) (*owner, error) {
	o := &owner{path: resolve(path), logger: logger, causes: causes, stop: make(chan struct{})}
	info, err := os.Stat(o.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && info.IsDir() {
		return nil, errors.New("this is a directory: name a file in it")
	}
	if err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if err == nil && links(info) > 1 {
		return nil, errors.New("the file has several names (hard links), each of which would get a log of its own: remove the others")
	}
	if o.lock, err = os.OpenFile(o.path+"-lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("files cannot be made beside the database, which needs that: %w", err)
	}
	if err := tryLock(o.lock); err != nil {
		_ = o.lock.Close() // What went wrong is err.
		return nil, fmt.Errorf("%w: %w", errInUse, err)
	}
	return o, nil
}

// resolve follows symbolic links, also where there is no file yet.
func resolve(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	if target, err := os.Readlink(path); err == nil && filepath.IsAbs(target) {
		path = target
	} else if err == nil {
		path = filepath.Join(filepath.Dir(path), target)
	}
	if folder, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(folder, filepath.Base(path))
	}
	return path
}

// mark is what an owner leaves behind for the next.
type mark struct {
	Incarnation string
	Change      int64  // The last that was acknowledged.
	File        string // Which file it was, as fileID tells.
	State       string // markOpen, or markClosed when all is in the database file.
	Copied      int64  // A change that the database file had without its log; 0 where that is not known.
}

const (
	markOpen   = "open"
	markClosed = "closed"
	noFileID   = "-" // The system cannot tell.
)

// readMark returns the mark that was left for a database, empty where there is none.
func readMark(path string) mark {
	var m mark
	text, err := os.ReadFile(path + "-lock")
	if err != nil {
		return m
	}
	line, _, _ := strings.Cut(string(text), "\n") // Behind a shorter one an older userd leaves the end of ours.
	if n, _ := fmt.Sscan(line, &m.Incarnation, &m.Change, &m.File, &m.State, &m.Copied); n < 4 {
		return mark{}
	}
	return m
}

// write leaves the mark. All have one length, so that each replaces the one before.
// It need not reach the disk: what is older says less, and nothing that is wrong.
func (m mark) write(lock *os.File) error {
	_, err := lock.WriteAt(fmt.Appendf(nil, "%36s %19d %40s %6s %19d\n", m.Incarnation, m.Change, m.File, m.State, m.Copied), 0)
	return err
}

// checkLog returns an error where the log beside a database is one of another file, or one of
// what this file was before an older copy was written over it: SQLite would write it into this
// one, or remove it.
func checkLog(path string) error {
	log, err := os.Stat(path + "-wal")
	if err != nil || log.Size() == 0 {
		return nil
	}
	database, err := os.Stat(path)
	left, file := readMark(path), fileID(path)
	switch {
	case err != nil || database.Size() == 0:
		return fmt.Errorf("%[1]s is gone, but %[1]s-wal has writes of it: put the file back, or, to start anew, remove %[1]s-wal", path)
	case left.State != markOpen:
		return nil
	case left.isOf(file):
		if head, err := headWithoutLog(path); err != nil || head >= left.Copied {
			return nil
		}
		return fmt.Errorf("%[1]s is an older copy of the file that %[1]s-wal has writes of: put that file back, "+
			"or, to go on with this one, remove %[1]s-wal, %[1]s-shm and %[1]s-lock", path)
	}
	return fmt.Errorf("%[1]s-wal has writes of the file that was %[1]s before userd was killed: put that file back, "+
		"or, to go on with this one, remove %[1]s-wal, %[1]s-shm and %[1]s-lock; where all of them were copied "+
		"together while no server ran, remove %[1]s-lock alone", path)
}

// headWithoutLog returns the last change that is in a database file itself. It looks at neither
// the log nor the locks of others, who may be copying the log into the file: it is a change that
// the file had at some time since it was asked for.
func headWithoutLog(path string) (int64, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return 0, err
	}
	uri := url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(path), "/"), RawQuery: "immutable=1"}
	conn, err := sqlite.OpenConn(uri.String(), sqlite.OpenReadOnly|sqlite.OpenURI)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return scalar(conn, headSQL)
}

// isOf reports whether the mark was left for a file, as far as the system can tell.
func (m mark) isOf(file string) bool {
	return file == m.File || file == noFileID || m.File == noFileID
}

// begin makes the store, whose log is in use now, the owner's.
func (o *owner) begin(conn *sqlite.Conn, identity *store.Identity) error {
	if err := o.recognize(conn, identity); err != nil {
		return err
	}
	return o.watch()
}

// recognize compares the database with what its last owner has left. Where writes are
// missing that were acknowledged before a crash, it returns an error. A database that
// goes back, or whose past is unknown, gets a new incarnation: caches and cursors may
// know changes of the old one that it does not have. So does a copy with a copy of the mark,
// which says nothing of what has become of the original since.
func (o *owner) recognize(conn *sqlite.Conn, identity *store.Identity) error {
	head, err := scalar(conn, headSQL)
	if err != nil {
		return err
	}
	left, file := readMark(o.path), fileID(o.path)
	same := left.Incarnation == identity.Incarnation
	if same && head < left.Change && left.State == markOpen {
		return fmt.Errorf("change %d was acknowledged before userd was killed, but %[2]s ends at change %[3]d: "+
			"%[2]s-wal was removed, or an older copy put in the place of the file. Put the files back, "+
			"or, to go on without the missing changes, remove %[2]s-lock", left.Change, o.path, head)
	}
	if !same || head < left.Change || !left.isOf(file) {
		identity.Incarnation = uuid.NewString()
		if err := exec(conn, `update meta set incarnation = ?1`, identity.Incarnation); err != nil {
			return err
		}
		if head > 0 || left.Incarnation != "" {
			o.logger.Warn("the database was restored, moved or replaced: caches and watchers start anew",
				"changes", head, "changes_before", left.Change)
		}
	}
	o.mark = mark{identity.Incarnation, head, file, markOpen, 0}
	if copied, err := headWithoutLog(o.path); err == nil {
		o.mark.Copied = copied
	}
	return o.mark.write(o.lock)
}

// watch looks from now on whether the files are still there.
func (o *owner) watch() error {
	o.files = make(map[string]fs.FileInfo)
	for _, path := range []string{o.path, o.path + "-wal"} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		o.files[path] = info
	}
	o.wait.Go(func() {
		ticker := time.NewTicker(lookInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if err := guard.Run(o.look); err != nil {
					o.logger.Error("cannot look at the files of the database", "cause", err.Error())
				}
			case <-o.stop:
				return
			}
		}
	})
	return nil
}

// look finds out whether the files are there, and says so when that has changed.
func (o *owner) look() {
	moved := false
	for path, opened := range o.files {
		info, err := os.Stat(path)
		moved = moved || err != nil || !os.SameFile(info, opened)
	}
	if o.moved.Swap(moved) == moved {
		return
	}
	if moved {
		o.causes.See(context.Background(), store.Writing, errMoved)
	} else {
		o.causes.Wrote(context.Background()) // Or could have.
	}
}

// acknowledge returns nil when the changes up to head may be called stored.
func (o *owner) acknowledge(head int64) error {
	o.look()
	if o.moved.Load() {
		return errMoved
	}
	if head != o.mark.Change {
		o.mark.Change = head
		o.causes.Wrote(context.Background())
		_ = o.mark.write(o.lock) // The mark then says less than it could.
	}
	return nil
}

// copied notes that all that was acknowledged is in the database file.
func (o *owner) copied() {
	if o.mark.Copied != o.mark.Change {
		o.mark.Copied = o.mark.Change
		_ = o.mark.write(o.lock) // The mark then says less than it could.
	}
}

// unwatch ends the looks, before SQLite removes its log. Ending them twice is fine.
func (o *owner) unwatch() {
	o.once.Do(func() { close(o.stop) })
	o.wait.Wait()
}

// release gives the file free, when SQLite has closed it. Releasing twice is fine.
func (o *owner) release() error {
	o.unwatch()
	if o.released {
		return nil
	}
	o.released = true
	var err error
	if log, statErr := os.Stat(o.path + "-wal"); !o.moved.Load() && o.mark.State == markOpen &&
		(errors.Is(statErr, fs.ErrNotExist) || statErr == nil && log.Size() == 0) {
		o.mark.State = markClosed
		err = o.mark.write(o.lock)
	}
	// A process that is just being started has a copy of the lock's descriptor.
	return errors.Join(err, unlock(o.lock), o.lock.Close())
}
