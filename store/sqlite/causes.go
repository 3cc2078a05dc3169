package sqlite

import "zombiezen.com/go/sqlite"

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
}

// damages are what SQLite's codes for a file that no retry makes good mean.
var damages = map[sqlite.ResultCode]string{
	sqlite.ResultCorrupt: "the SQLite file is damaged: stop userd and restore a backup; `pragma integrity_check` tells what is left",
	sqlite.ResultNotADB:  "the file is not a database of SQLite, or its start was overwritten: stop userd and restore a backup",
}

const tooLate = "the SQLite file did not answer before the deadline of a call: another program may hold its lock, or its disk is slow"
