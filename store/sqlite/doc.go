// Package sqlite keeps users in a SQLite file.
//
// Readers run in parallel, each on a connection of its own, and see the last
// committed state (WAL). All writes of a process go through one connection and
// one goroutine: those that wait at the same time share one transaction, each in
// a savepoint of its own, and are answered when it is on disk (synchronous=FULL).
//
// One server at a time should own a file. Other processes may read it, and may
// write to table users, as sqlite3 does: SQLite's locks keep both right, triggers
// write the change log for them, and watchers see such writes by polling.
package sqlite
