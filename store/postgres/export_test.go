package postgres

// The statements that pgbench is given to compare with.
const (
	CreateSQL = createSQL
	GetSQL    = getSQL
)

// For looking at the plan that a connection of a store makes.
var (
	FirstPageSQL = firstPageSQL
	PrepareConn  = new(sessions).afterConnect

	BeginLimitedSQL = beginLimitedSQL
)
