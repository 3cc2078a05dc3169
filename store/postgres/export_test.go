package postgres

// The statements that pgbench is given to compare with.
const (
	CreateSQL = createSQL
	GetSQL    = getSQL
)
