package sqlite

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
	"github.com/example/userd/store/guard"
	"github.com/example/userd/store/stats"
)

// maxListCapacity is the most users that a list has room for before there are any.
const maxListCapacity = 512

// few is the most users of the index of emails or names whom a search sorts.
const few = 1000

// A search walks along the positions of all users past so many and then so many. The first
// step is enough for what is common; the page ends with the second, which is made in turns of
// at least so many. Along those who have a role or an attribute it is shorter, since each user
// is looked up.
const firstStep, secondStep, secondLookups, leastInTurn = 500, 9_500, 2_000, 100

// List implements store.Store. SQLite needs a deep stack, which a goroutine keeps. Callers have to
// wait for those whom they send the users to, thousands of them maybe, so that SQLite has one of
// its own.
func (s *Store) List(ctx context.Context, query store.Query) (page store.Page, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		page, err = guard.Call(func() (store.Page, error) { return s.list(ctx, query) })
	}()
	<-done
	return page, err
}

func (s *Store) list(ctx context.Context, query store.Query) (store.Page, error) {
	var page store.Page
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		l := &listing{
			Listing: store.Listing{Query: query}, byNameTime: s.byNameTime, inVain: &s.inVain, now: s.now, conn: conn, pace: pace{idle: s.idle},
		}
		err := l.fill(ctx)
		if page = l.Page; err == nil {
			s.pages.Count(l.plan)
		}
		return err
	})
	if err != nil {
		return store.Page{}, fmt.Errorf("list users: %w", err)
	}
	return page, nil
}

// listing is a query on its way.
type listing struct {
	store.Listing
	along      postings
	plan       stats.Plan
	byNameTime time.Duration
	inVain     *store.InVain[string]
	late       bool // The index of names had no answer within byNameTime.
	now        func() time.Time
	conn       *sqlite.Conn
	pace       pace
	args       []any // Of the statement that is being written.
}

// fill fills the page. What leaves out few users is found by a walk at once, and what
// leaves out very many by an index, if there is one for it.
func (l *listing) fill(ctx context.Context) error {
	if !l.Filters() {
		if err := l.pace.letOthers(); err != nil {
			return err
		}
		users, err := l.users(nil)
		l.Page = store.PageOf(users, l.Limit)
		return err
	}
	if err := l.choose(); err != nil {
		return err
	}
	for _, look := range []struct {
		plan stats.Plan
		look func() (bool, error)
	}{
		{l.along.or(stats.InOrder), func() (bool, error) { return l.walk(firstStep) }},
		{stats.ByEmail, l.byEmail},
		{stats.ByName, func() (bool, error) { return l.byName(ctx) }},
		{l.along.or(stats.Walk), func() (bool, error) { return l.walkOn(l.secondStep()) }},
	} {
		l.plan = look.plan
		if err := l.pace.letOthers(); err != nil {
			return err
		}
		if ended, err := look.look(); err != nil || ended {
			return err
		}
	}
	return nil
}

func (l *listing) secondStep() int {
	if l.along.table != "" {
		return secondLookups
	}
	return secondStep
}

// arg returns the place of an argument.
func (l *listing) arg(value any) string {
	l.args = append(l.args, value)
	return "?" + strconv.Itoa(len(l.args))
}

// limit lets a statement have n rows. See changesSQL.
func (l *listing) limit(n int) string { return ` limit ` + l.arg(n) + ` + 0` }

// run runs a statement. Those with filters are too many to be kept prepared.
func (l *listing) run(statement string, found func(*sqlite.Stmt)) error {
	execute := sqlitex.Execute
	if l.Filters() {
		execute = sqlitex.ExecuteTransient
	}
	return execute(l.conn, statement, &sqlitex.ExecOptions{
		Args:       l.args,
		ResultFunc: func(stmt *sqlite.Stmt) error { found(stmt); return nil },
	})
}

// byEmail sorts the users whose emails have the prefix, if they are few.
func (l *listing) byEmail() (bool, error) {
	if l.EmailPrefix == "" {
		return false, nil
	}
	l.args = nil
	n := 0
	err := l.run(`select count(*) from (select 1 from users where `+l.hasPrefix()+l.limit(few+1)+`)`,
		func(stmt *sqlite.Stmt) { n = stmt.ColumnInt(0) })
	if err != nil || n > few {
		return false, err
	}
	l.args = nil
	users, err := l.sorted(`users`)
	return l.Take(users, nil), err
}

// byName sorts the users whose names have all trigrams of the text, if they are few.
func (l *listing) byName(ctx context.Context) (bool, error) {
	query := trigramsOf(store.FoldName(l.NameContains))
	if query == "" || l.inVain.Has(query, l.now()) {
		return false, nil
	}
	ids, known, err := l.namesLike(ctx, query)
	if err != nil || !known {
		return false, err
	}
	l.args = nil
	users, err := l.sorted(`json_each(` + l.arg(ids) + `) as named cross join users on users.id = named.value`)
	return l.Take(users, nil), err
}

func (l *listing) hasPrefix() string {
	prefix := l.arg(l.EmailPrefix)
	return `email >= ` + prefix + ` and email < ` + prefix + ` || char(0x10ffff)`
}

// walk looks at the next n users.
func (l *listing) walk(n int) (bool, error) {
	end, err := l.end(n)
	if err != nil {
		return false, err
	}
	users, err := l.users(end)
	return l.Take(users, end), err
}

// walkOn looks at the next n users, at as many at a time as a turn has been enough for. A page
// that is late ends as it is.
func (l *listing) walkOn(n int) (bool, error) {
	if l.late {
		return true, nil
	}
	for step := firstStep; n > 0; {
		if err := l.pace.letOthers(); err != nil {
			return false, err
		}
		step = min(step, n)
		began := time.Now()
		if ended, err := l.walk(step); err != nil || ended {
			return ended, err
		}
		n -= step
		step = fitting(step, time.Since(began))
	}
	return false, nil
}

// fitting is how many users a turn is enough for, where so many have taken a time.
func fitting(users int, took time.Duration) int {
	return max(leastInTurn, min(int(float64(users)*float64(turn)/float64(max(took, time.Microsecond))), 2*users))
}

// end returns the position of the last of the next n users, or nil where there are fewer.
func (l *listing) end(n int) (end *store.Position, err error) {
	l.args = nil
	from := l.inOrder()
	var conditions []string
	if l.along.table != "" {
		from, conditions = l.along.table, l.among(l.along)
	} else if l.onlyDisabled() {
		conditions = append(conditions, `disabled`)
	}
	conditions = append(conditions, l.positions(``, nil)...)
	err = l.run(`select created_at, id from `+from+where(conditions)+l.order(``)+` limit 1 offset `+l.arg(n-1),
		func(stmt *sqlite.Stmt) {
			end = &store.Position{CreatedAt: timeOf(stmt.ColumnInt64(0)), ID: stmt.ColumnText(1)}
		})
	return end, err
}

// postings are the users who have something, in the order of their positions.
type postings struct {
	table   string
	columns []string
	values  []any
	plan    stats.Plan
}

func roleOf(role string) postings {
	return postings{`user_roles`, []string{`role`}, []any{role}, stats.ByRole}
}

func attributeOf(attribute store.Attribute) postings {
	return postings{`user_attributes`, []string{`name`, `value`}, []any{attribute.Name, attribute.Value}, stats.ByAttribute}
}

// or is the plan of a walk along them, or without them.
func (p postings) or(without stats.Plan) stats.Plan {
	if p.table == "" {
		return without
	}
	return p.plan
}

func (l *listing) among(p postings) (conditions []string) {
	for i, column := range p.columns {
		conditions = append(conditions, column+` = `+l.arg(p.values[i]))
	}
	return conditions
}

// choose chooses the postings to walk along: the shortest, as far as few users tell.
func (l *listing) choose() error {
	var candidates []postings
	for _, attribute := range l.Attributes {
		candidates = append(candidates, attributeOf(attribute))
	}
	if l.Role != "" {
		candidates = append(candidates, roleOf(l.Role))
	}
	if len(candidates) == 1 {
		l.along = candidates[0]
		return nil
	}
	shortest := few + 1
	for _, p := range candidates {
		l.args = nil
		n := 0
		err := l.run(`select count(*) from (select 1 from `+p.table+where(l.among(p))+l.limit(few)+`)`,
			func(stmt *sqlite.Stmt) { n = stmt.ColumnInt(0) })
		if err != nil {
			return err
		}
		if n < shortest {
			shortest, l.along = n, p
		}
	}
	return nil
}

// users returns the first users who match, as many as the page has room for, after l.After
// and up to end: by postings, or by the index of positions.
func (l *listing) users(end *store.Position) ([]store.User, error) {
	l.args = nil
	if l.along.table == "" {
		return l.query(l.inOrder(), `users.`, end, nil)
	}
	return l.query(l.along.table+` cross join users on users.id = `+l.along.table+`.id`, l.along.table+`.`, end, l.among(l.along))
}

// sorted returns the first users who match of those whom another index than that of
// positions finds. The arguments of from are l's already.
func (l *listing) sorted(from string) ([]store.User, error) {
	l.along = postings{}
	return l.query(from, `+users.`, nil, nil) // Else the index of positions would be preferred.
}

// query returns the first users of a table who match, in the order of its columns.
func (l *listing) query(from, columns string, end *store.Position, conditions []string) ([]store.User, error) {
	n := l.Room()
	conditions = append(conditions, l.filters()...)
	if l.Role != "" && l.along.table != roleOf(l.Role).table {
		conditions = append(conditions, `exists (select 1 from user_roles as r where r.role = `+l.arg(l.Role)+
			` and r.created_at = users.created_at and r.id = users.id)`)
	}
	conditions = append(conditions, l.positions(columns, end)...)
	rows := newUserRows(min(n, maxListCapacity)) // Few lists end sooner.
	statement := `select users.` + strings.ReplaceAll(userColumns, `, `, `, users.`) + ` from ` + from + where(conditions) +
		l.order(columns) + l.limit(n)
	if err := l.run(statement, rows.add); err != nil {
		return nil, err
	}
	return rows.decode(), nil
}

func (l *listing) onlyDisabled() bool { return l.Disabled != nil && *l.Disabled }

// inOrder names users with the index that a walk goes along. SQLite would rather sort all
// whose emails have a prefix.
func (l *listing) inOrder() string {
	if l.onlyDisabled() {
		return `users indexed by users_disabled`
	}
	return `users indexed by users_by_position`
}

func where(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return ` where ` + strings.Join(conditions, ` and `)
}

// order is the order by columns of a table.
func (l *listing) order(table string) string {
	if l.NewestFirst {
		return ` order by ` + table + `created_at desc, ` + table + `id desc`
	}
	return ` order by ` + table + `created_at, ` + table + `id`
}

// positions are the conditions for where users stand, by columns of a table.
func (l *listing) positions(table string, end *store.Position) (conditions []string) {
	forward, back := `>`, `<`
	if l.NewestFirst {
		forward, back = back, forward
	}
	row := `(` + table + `created_at, ` + table + `id)`
	position := func(p store.Position) string { return `(` + l.arg(p.CreatedAt.UnixMicro()) + `, ` + l.arg(p.ID) + `)` }
	if l.After != (store.Position{}) {
		conditions = append(conditions, row+` `+forward+` `+position(l.After))
	}
	if end != nil {
		conditions = append(conditions, row+` `+back+`= `+position(*end))
	}
	created := func(operator string, at time.Time) {
		if !at.IsZero() {
			conditions = append(conditions, table+`created_at `+operator+` `+l.arg(at.UnixMicro()))
		}
	}
	created(`>=`, l.CreatedAfter)
	created(`<`, l.CreatedBefore)
	return conditions
}

// filters are the conditions but for the role and the position.
func (l *listing) filters() (conditions []string) {
	if l.EmailPrefix != "" {
		conditions = append(conditions, l.hasPrefix())
	}
	if l.NameContains != "" {
		conditions = append(conditions, `contains_fold(display_name, `+l.arg(store.FoldName(l.NameContains))+`)`)
	}
	if l.onlyDisabled() {
		conditions = append(conditions, `disabled`) // As the index has it.
	} else if l.Disabled != nil {
		conditions = append(conditions, `not disabled`)
	}
	for _, attribute := range l.Attributes {
		conditions = append(conditions, `attributes ->> `+l.arg(`$."`+attribute.Name+`"`)+` = `+l.arg(attribute.Value))
	}
	if !l.InactiveSince.IsZero() {
		conditions = append(conditions, `ifnull(last_login, users.created_at) < `+l.arg(l.InactiveSince.UnixMicro()))
	}
	return conditions
}
