// Package sqlite keeps users in a SQLite file.
//
// Readers run in parallel, each on a connection of its own, and see the last
// committed state (WAL). Calls that are marked by store.Vital, and Ping, have a
// connection that no other reader takes. All writes of a process go through one connection and
// one goroutine: those that wait at the same time share one transaction, each in
// a savepoint of its own, and are answered when it is on disk (synchronous=FULL).
// Imports and other writes of many rows have a transaction each, before which the
// small writes that wait have theirs; while there are small writes, imports are asked to
// have few rows (store.Capacity). Commits only append to the write-ahead log; a
// goroutine with a connection of its own moves that into the file.
//
// One server at a time should own a file. Other processes may read it, and may
// write to table users, as sqlite3 does: SQLite's locks keep both right, triggers
// write the change log for them, and watchers see such writes by polling.
//
// Names are found by an index of their trigrams (FTS5), which a goroutine keeps up to date
// from the change log, a little between two commits; searches look themselves at the users
// whom it has not seen yet.
//
// SQLite computes on the processors of Go's scheduler, where calls that need no store would
// wait for it. Where many read they therefore let others go first, and while there is much to do the process
// has one processor more than GOMAXPROCS says.
//
// # Files
//
//   - users.go, batch.go, list.go, changes.go, cursor.go, waker.go, copy.go, migrate.go,
//     errors.go, causes.go and stats.go do what the files of the same names do in
//     store/postgres, whose doc.go says what that is. Imports are in batch.go here; what becomes
//     of a row of theirs, as of an update, is in users.go.
//   - sqlite.go opens the file and its connections, and owner.go sees to it that one server owns
//     the file, and notices when it is gone.
//   - writer.go is the one writer, and checkpoint.go keeps the write-ahead log short.
//   - names.go asks the index of names, and namer.go keeps it up to date.
//   - turns.go lets others go first where many read, and spare.go has the processor more.
package sqlite
