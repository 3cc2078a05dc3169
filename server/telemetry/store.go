package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/store"
	"github.com/example/userd/store/stats"
)

// measuredStore is a store whose operations are measured.
type measuredStore struct {
	store.Store
	database *database
}

// MeasureStore measures the operations of a store of a system, sqlite or postgresql. It does
// so below admission: what calls wait for there is not the database.
func (o *Operations) MeasureStore(s store.Store, system string) store.Store {
	return &measuredStore{s, o.add(system, "create", "import", "get", "get_many", "get_by_email", "get_by_external_id", "list",
		"update", "update_many", "delete", "record_login", "head", "changes", "at", "span", "prune", "ping")}
}

// Create implements store.Store.
func (m *measuredStore) Create(ctx context.Context, user store.NewUser) (created store.Written, err error) {
	ctx, u := m.database.begin(ctx, "create")
	created, err = m.Store.Create(ctx, user)
	u.end(err)
	return created, err
}

// Import implements store.Store.
func (m *measuredStore) Import(ctx context.Context, users []store.NewUser) (created []store.Created, err error) {
	ctx, u := m.database.begin(ctx, "import")
	created, err = m.Store.Import(ctx, users)
	u.end(err)
	return created, err
}

// Get implements store.Store.
func (m *measuredStore) Get(ctx context.Context, id string) (user store.User, err error) {
	ctx, u := m.database.begin(ctx, "get")
	user, err = m.Store.Get(ctx, id)
	u.end(err)
	return user, err
}

// GetMany implements store.Store.
func (m *measuredStore) GetMany(ctx context.Context, ids []string) (users []store.User, err error) {
	ctx, u := m.database.begin(ctx, "get_many")
	users, err = m.Store.GetMany(ctx, ids)
	u.end(err)
	return users, err
}

// GetByEmail implements store.Store.
func (m *measuredStore) GetByEmail(ctx context.Context, email string) (user store.User, err error) {
	ctx, u := m.database.begin(ctx, "get_by_email")
	user, err = m.Store.GetByEmail(ctx, email)
	u.end(err)
	return user, err
}

// GetByExternalID implements store.Store.
func (m *measuredStore) GetByExternalID(ctx context.Context, externalID string) (user store.User, err error) {
	ctx, u := m.database.begin(ctx, "get_by_external_id")
	user, err = m.Store.GetByExternalID(ctx, externalID)
	u.end(err)
	return user, err
}

// List implements store.Store.
func (m *measuredStore) List(ctx context.Context, query store.Query) (page store.Page, err error) {
	ctx, u := m.database.begin(ctx, "list")
	page, err = m.Store.List(ctx, query)
	u.end(err)
	return page, err
}

// Update implements store.Store.
func (m *measuredStore) Update(ctx context.Context, update store.Update) (user store.Written, err error) {
	ctx, u := m.database.begin(ctx, "update")
	user, err = m.Store.Update(ctx, update)
	u.end(err)
	return user, err
}

// UpdateMany implements store.Store.
func (m *measuredStore) UpdateMany(ctx context.Context, updates []store.Update) (updated []store.Updated, err error) {
	ctx, u := m.database.begin(ctx, "update_many")
	updated, err = m.Store.UpdateMany(ctx, updates)
	u.end(err)
	return updated, err
}

// Delete implements store.Store.
func (m *measuredStore) Delete(ctx context.Context, id string, expectedVersion int64) (version int64, err error) {
	ctx, u := m.database.begin(ctx, "delete")
	version, err = m.Store.Delete(ctx, id, expectedVersion)
	u.end(err)
	return version, err
}

// RecordLogin implements store.Store.
func (m *measuredStore) RecordLogin(ctx context.Context, id string, at time.Time, resolution time.Duration) (user store.Written, err error) {
	ctx, u := m.database.begin(ctx, "record_login")
	user, err = m.Store.RecordLogin(ctx, id, at, resolution)
	u.end(err)
	return user, err
}

// Head implements store.Store.
func (m *measuredStore) Head(ctx context.Context) (head store.Cursor, err error) {
	ctx, u := m.database.begin(ctx, "head")
	head, err = m.Store.Head(ctx)
	u.end(err)
	return head, err
}

// Changes implements store.Store.
func (m *measuredStore) Changes(ctx context.Context, after store.Cursor, limit int) (changes []store.Change, next store.Cursor, err error) {
	ctx, u := m.database.begin(ctx, "changes")
	changes, next, err = m.Store.Changes(ctx, after, limit)
	u.end(err)
	return changes, next, err
}

// At implements store.Store.
func (m *measuredStore) At(ctx context.Context, t time.Time) (at store.Cursor, err error) {
	ctx, u := m.database.begin(ctx, "at")
	at, err = m.Store.At(ctx, t)
	u.end(err)
	return at, err
}

// Span implements store.Store.
func (m *measuredStore) Span(ctx context.Context) (span store.Span, err error) {
	ctx, u := m.database.begin(ctx, "span")
	span, err = m.Store.Span(ctx)
	u.end(err)
	return span, err
}

// Prune implements store.Store.
func (m *measuredStore) Prune(ctx context.Context, before time.Time) (removed int64, err error) {
	ctx, u := m.database.begin(ctx, "prune")
	removed, err = m.Store.Prune(ctx, before)
	u.end(err)
	return removed, err
}

// Ping implements store.Store.
func (m *measuredStore) Ping(ctx context.Context) (err error) {
	ctx, u := m.database.begin(ctx, "ping")
	err = m.Store.Ping(ctx)
	u.end(err)
	return err
}

// storeMetrics shows how busy a store is.
type storeMetrics struct {
	stats func() stats.Store
}

// RegisterStore adds the metrics of a store to a registry.
func RegisterStore(registry prometheus.Registerer, stats func() stats.Store) {
	registry.MustRegister(storeMetrics{stats})
}

var (
	poolConnections = describe("userd_store_pool_connections", "Connections to the database, by pool and state.", "pool", "state")
	poolMax         = describe("userd_store_pool_connections_max", "Most connections to the database, by pool.", "pool")
	poolWaiting     = describe("userd_store_pool_waiting", "Calls that wait for a connection to the database, by pool.", "pool")
	writerWaiting   = describe("userd_store_writer_waiting", "Writes that wait for the one writer of SQLite, by queue.", "queue")
	writerGroups    = describe("userd_store_writer_group_writes", "Writes that shared a transaction of SQLite.")
	storePages      = describe("userd_store_pages_total", "Pages of lists and searches, by what their users were found by.", "plan")
	schemaVersion   = describe("userd_store_schema_version", "Version of the schema of the database.")
)

// plans are how the plans of pages are called.
var plans = map[stats.Plan]string{
	stats.InOrder: "order", stats.ByEmail: "email", stats.ByName: "name", stats.ByRole: "role", stats.ByAttribute: "attribute",
	stats.ByContent: "content", stats.Walk: "walk",
}

// Describe implements prometheus.Collector.
func (m storeMetrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m storeMetrics) Collect(out chan<- prometheus.Metric) {
	to, now := collected(out), m.stats()
	to.gauge(schemaVersion, float64(now.Schema))
	for plan, name := range plans {
		to.count(storePages, now.Pages[plan], name)
	}
	to.pool(now.Calls, "calls")
	to.pool(now.Vital, "vital")
	if now.Writer != nil {
		to.gauge(writerWaiting, float64(now.Writer.Small), "small")
		to.gauge(writerWaiting, float64(now.Writer.Bulk), "bulk")
		to.sizes(writerGroups, now.Writer.Groups)
	}
}

func (c collected) pool(pool stats.Pool, name string) {
	c.gauge(poolConnections, float64(pool.InUse), name, "in_use")
	c.gauge(poolConnections, float64(pool.Idle), name, "idle")
	c.gauge(poolMax, float64(pool.Max), name)
	c.gauge(poolWaiting, float64(pool.Waiting), name)
}
