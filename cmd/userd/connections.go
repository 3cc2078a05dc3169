package main

import (
	"github.com/example/userd/server"
	"github.com/example/userd/store"
)

const (
	// reservedFiles is what is kept of the files that the process may have open for all
	// that is no connection of a caller, the store aside: Redis, listeners, logs, traces,
	// files that are read for a moment.
	reservedFiles = 48
	// filesPerRead is how many files a store has open for each call that it can do at a
	// time: SQLite has the database and its log, PostgreSQL a connection.
	filesPerRead = 2
	// leastConnections are allowed however few files there are.
	leastConnections = 8
)

// fitConnections is --max-connections, or what there are files for if that is less. For a
// moment the server has a sixteenth more.
func fitConnections(wanted, files int, capacity store.Capacity) int {
	free := files - reservedFiles - server.AdminConnections - filesPerRead*capacity.Reads
	return min(wanted, max(leastConnections, free/17*16))
}
