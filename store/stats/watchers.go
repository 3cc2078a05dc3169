package stats

// Watchers are those of the change log.
type Watchers struct {
	Following  int      // They have seen all of it.
	CatchingUp int      // They wait for older changes.
	Refused    int64    // So far, because too many waited.
	Events     int64    // Sent so far.
	Lag        Snapshot // Age of changes when they were read for those that follow, in nanoseconds.
}
