package sqlite

import (
	"context"
	"errors"

	"zombiezen.com/go/sqlite"

	"github.com/example/userd/store"
)

// causes are what SQLite's codes for a file that cannot be used mean, and what to do.
var causes = map[sqlite.ResultCode]string{
	sqlite.ResultBusy:      "another program has locked the SQLite file for too long: end its transaction, or close that program",
	sqlite.ResultLocked:    "another connection has locked a table of the SQLite file",
	sqlite.ResultFull:      "the disk or the quota of the SQLite file is full: make room",
	sqlite.ResultIOErr:     "the SQLite file cannot be read or written: look at the disk and the kernel's log",
	sqlite.ResultCantOpen:  "the SQLite file, its folder or its -wal cannot be opened: look at their owner and mode",
	sqlite.ResultReadOnly:  "the SQLite file, its folder or its disk is read-only: userd must be able to write to all three",
	sqlite.ResultPerm:      "the SQLite file may not be opened: look at its owner and mode",
	sqlite.ResultNoMem:     "there is no memory left for SQLite",
	sqlite.ResultInterrupt: "a statement was interrupted",
	sqlite.ResultCorrupt:   "the SQLite file is damaged: stop userd and restore a backup; `PRAGMA integrity_check` tells what is left",
	sqlite.ResultNotADB:    "the file is not a database of SQLite, or its start was overwritten: stop userd and restore a backup",
}

// translate gives the driver's errors their meaning in package store. Others stay
// as they are.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	code := sqlite.ErrCode(err).ToPrimary()
	if code == sqlite.ResultInterrupt && ctx.Err() != nil {
		return ctx.Err()
	}
	if cause, ok := causes[code]; ok && !errors.Is(err, store.ErrUnavailable) {
		return store.Unavailable(cause, err)
	}
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) && !refused(err) {
		return errors.Join(ctx.Err(), err)
	}
	return err
}
