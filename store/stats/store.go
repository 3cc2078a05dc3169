package stats

// Store is how busy a store is.
type Store struct {
	Schema int64 // Version of its tables.

	Calls Pool // The connections of callers.
	Vital Pool // Those that store.Vital calls have.

	Pages [plans]int64 // Of lists, by Plan.

	Writer *Writer // Nil where each write has a connection of its own.
}

// Pool is how many connections there are, and how many calls wait for one.
type Pool struct{ Max, InUse, Idle, Waiting int }

// Writer is the one goroutine that writes, where there is one.
type Writer struct {
	Small, Bulk int      // Writes that wait.
	Groups      Snapshot // Writes that shared a transaction.
}
