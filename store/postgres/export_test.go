package postgres

// SearchWithoutLimit lets searches try the indexes of what users have as long as it takes.
func (s *Store) SearchWithoutLimit() { s.byContentTime = 0 }

// StopReaping ends the looks for silent sessions, which are reads that no test has asked for.
func (s *Store) StopReaping() { s.reap.close() }

// The statements that pgbench is given to compare with.
const (
	CreateSQL = createSQL
	GetSQL    = getSQL
)

// How a migration begins its transactions.
const (
	BeginTurnSQL = beginTurnSQL
	BeginStepSQL = beginStepSQL
)

// For looking at the plan that a connection of a store makes.
var (
	FirstPageSQL = firstPageSQL
	PrepareConn  = new(sessions).afterConnect

	BeginLimitedSQL = beginLimitedSQL
)
