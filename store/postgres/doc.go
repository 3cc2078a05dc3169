// Package postgres keeps users in PostgreSQL 14 or newer, for any number of
// servers at once.
//
// # Writes
//
// A write of one user is one statement and one round trip: it locks the row, decides,
// writes row and change log, and says what the outcome was. Nothing is locked longer
// than that, so there is no deadlock among them; imports and updates of many users
// take their locks in one order, and run again when PostgreSQL still has to break a
// deadlock.
//
// # Lifelines
//
// Calls that are marked by store.Vital, and Ping, have a small pool of their own, and so
// does the waker: they never wait for a connection behind callers.
//
// # Calls that end early
//
// When the context of a call ends, the database is asked to end its statement, and the call
// returns. One with a deadline of milliseconds returns at once, and its statement is given a
// moment to end by itself first. The connection is kept either way: to make a new one for
// each caller in a hurry would cost the database more than all their calls. No transaction
// is committed for a caller who has left.
//
// Sessions have limits for statements, locks and idle transactions (session.go). They do
// not cover a server that falls silent in the middle of a statement, with all its locks,
// so each server looks for such sessions of others and ends them (reaper.go).
//
// # The change log
//
// Transactions do not commit in the order in which they take numbers, so a reader
// that remembers the highest number it has seen loses changes. Rows of the log
// carry the id of their transaction, and a cursor is a snapshot: the set of
// transactions whose changes have been read. What is visible now but not in the
// cursor is new. A batch that is cut by a limit remembers both snapshots and how far
// between them it has come, in the order of seq, which is taken under the row's lock
// and so orders the versions of a user.
//
// A cursor ends at a transaction that is known to be on disk, see snapshot.upTo. That
// needs synchronous_commit not to be off, which sessions see to.
//
// The log has no index of times. At and Prune take it to be in the order of time but
// for some minutes, by which the clocks of servers may differ and a write may wait for
// another one.
//
// # Copies and restores
//
// Transaction ids mean nothing in another cluster. The store notes which database it
// was made in, and when it wakes up in another one, from a dump, it takes a new
// incarnation and starts the log anew. A cluster that was taken back in time, by a
// restored base backup or a failover to a standby that had not received everything,
// cannot be told from one that moved on: after that run
//
//	update meta set home = ''
//
// before the servers start, which has the same effect.
//
// # Files
//
//   - users.go: calls for one user. batch.go: those for many. list.go: lists and searches.
//   - import.go writes the rows of an import. What becomes of one that meets a user who is
//     there, as of an update, is in edits.go: it changes, skips or conflicts.
//   - changes.go and cursor.go: the change log, and a place in it. waker.go: who waits for
//     changes. copy.go: all users from here or to here.
//   - errors.go has the one translation from PostgreSQL's errors to those of package store.
//     causes.go: why the database cannot be used, in words of this package.
//   - postgres.go opens the pools, pool.go shares what connections they have, dial.go makes
//     them, and call.go runs calls on them. session.go sets and checks what the statements
//     rely on, reaper.go ends sessions of silent servers, stats.go counts.
//   - migrate.go brings the schema up to date, refold.go the folded names. name.go says what a
//     database may be called in the open.
//
// Files of the same names in store/sqlite do the same there.
package postgres
