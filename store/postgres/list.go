package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/example/userd/store"
	"github.com/example/userd/store/stats"
)

// few is the most users of the index of emails whom a search sorts.
const few = 1000

// A search walks along the positions of all users, past so many and then so many. The
// first step is enough for what is common; the page ends with the second.
const firstStep, secondStep = 500, 9_500

// byContentTime is how long a search may try the indexes of what users have, which have no
// order.
const byContentTime = 40 * time.Millisecond

// trigram is the fewest characters of a name that the index of names can look for.
const trigram = 3

// maxParts is how many parts of a name a search looks for. Each has a list in the index that is
// read, in full where it is long, and a few tell names apart: with all its trigrams a whole name
// takes five times as long.
const maxParts = 5

// List implements store.Store.
func (s *Store) List(ctx context.Context, query store.Query) (store.Page, error) {
	if hasNUL(query) {
		return store.Page{}, nil // No text in the database has this character, and none may.
	}
	attributes, err := store.EncodeAttributes(query.Attributes)
	if err != nil {
		return store.Page{}, fmt.Errorf("list users: %w", err)
	}
	page, err := read(ctx, s, func(ctx context.Context, on *session) (store.Page, error) {
		l := &listing{
			Listing: store.Listing{Query: query}, attributes: attributes, byContentTime: s.byContentTime, inVain: &s.inVain, now: s.now, on: on,
		}
		err := l.fill(ctx)
		if err == nil {
			s.pages.Count(l.plan)
		}
		return l.Page, err
	})
	if err != nil {
		return store.Page{}, fmt.Errorf("list users: %w", err)
	}
	return page, nil
}

func hasNUL(query store.Query) bool {
	return strings.ContainsRune(query.EmailPrefix+query.NameContains+query.Role, 0) ||
		slices.ContainsFunc(query.Attributes, func(a store.Attribute) bool { return strings.ContainsRune(a.Name+a.Value, 0) })
}

// listing is a query on its way. Each set of filters has a statement of its own, so that
// it has a plan of its own.
type listing struct {
	store.Listing
	attributes    string // Those of the query, as JSON.
	byContentTime time.Duration
	inVain        *store.InVain[content]
	now           func() time.Time
	plan          stats.Plan
	on            *session
	args          []any // Of the statement that is being written.
}

// fill fills the page. What leaves out few users is found by a walk at once, and what
// leaves out very many by an index, if there is one for it.
func (l *listing) fill(ctx context.Context) error {
	if !l.Filters() {
		users, err := queryUsers(ctx, l.on, l.Room(), l.users(`users`, l.positions()), l.args...)
		l.Page = store.PageOf(users, l.Limit)
		return err
	}
	for _, look := range []struct {
		plan stats.Plan
		look func(context.Context) (bool, error)
	}{
		{stats.InOrder, func(ctx context.Context) (bool, error) { return l.walk(ctx, firstStep) }},
		{stats.ByEmail, l.byEmail},
		{stats.ByContent, l.byContent},
		{stats.Walk, func(ctx context.Context) (bool, error) { return l.walk(ctx, secondStep) }},
	} {
		l.plan = look.plan
		if ended, err := look.look(ctx); err != nil || ended {
			return err
		}
	}
	return nil
}

// walk looks at the next n users.
func (l *listing) walk(ctx context.Context, n int) (bool, error) {
	l.args = nil
	next := `users` + where(l.positions()) + l.order()
	users := l.users(`(select * from `+next+` limit `+l.arg(n)+`) as walked`, l.filters())
	end := `select ` + markColumns + ` from ` + next + ` limit 1 offset ` + l.arg(n-1)
	return l.marked(ctx, ``, users, end, l.Take)
}

// markColumns are a position in the form of userColumns, at a version that no user has.
const markColumns = `id, '', '', '{}', created_at, created_at, null, 0, false, null, '{}'`

// marked has take take the users of a statement, and the position that another one finds in
// the same moment: what has come between two of them would be taken for looked at.
func (l *listing) marked(ctx context.Context, with, users, mark string, take func([]store.User, *store.Position) bool) (bool, error) {
	found, err := queryUsers(ctx, l.on, l.Room(), with+`(`+users+`) union all (`+mark+`)`, l.args...)
	if err != nil {
		return false, err
	}
	if last := len(found) - 1; last >= 0 && found[last].Version == 0 {
		return take(found[:last], new(found[last].Position())), nil
	}
	return take(found, nil), nil
}

// byEmail sorts the users whose emails have the prefix, if they are few.
func (l *listing) byEmail(ctx context.Context) (bool, error) {
	if l.EmailPrefix == "" {
		return false, nil
	}
	l.args = nil
	with := `with found as (select * from users where ` + l.hasPrefix() + ` order by lower(email) limit ` + l.arg(few+1) + `) `
	users := l.users(`found`, append(l.positions(), l.filters()...))
	oneMore := `select ` + markColumns + ` from found offset ` + l.arg(few)
	return l.marked(ctx, with, users, oneMore, func(users []store.User, more *store.Position) bool {
		return more == nil && l.Take(users, nil)
	})
}

// byContent sorts the users who have the role, the attributes and the part of a name, if
// they are found in time.
func (l *listing) byContent(ctx context.Context) (bool, error) {
	l.args = nil
	conditions, plan := l.contents()
	looked := content{l.Role, l.NameContains, l.attributes}
	if len(conditions) == 0 || l.inVain.Has(looked, l.now()) {
		return false, nil
	}
	l.plan = plan
	var users []store.User
	err := l.on.transact(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		if _, err := tx.Exec(ctx, `set local statement_timeout = `+strconv.FormatInt(l.byContentTime.Milliseconds(), 10)); err != nil {
			return err
		}
		found := `(select * from users` + where(conditions) + ` offset 0) as found`
		sql := l.users(found, append(l.positions(), l.filters()...))
		users, err = queryUsers(ctx, tx, l.Room(), sql, l.args...)
		return err
	})
	if hasCode(err, queryCanceled) && l.on.caller.Err() == nil {
		l.inVain.Add(looked, l.now())
		return false, nil
	}
	return err == nil && l.Take(users, nil), err
}

// content is what the indexes of what users have are asked for.
type content struct{ role, name, attributes string }

// contents are the conditions that indexes of what users have can look for, and the plan that is
// made of them. Of several indexes PostgreSQL chooses.
func (l *listing) contents() (conditions []string, plan stats.Plan) {
	var plans []stats.Plan
	if l.Role != "" {
		plans, conditions = append(plans, stats.ByRole), append(conditions, l.hasRole())
	}
	if parts := partsOf(store.FoldName(l.NameContains)); len(parts) > 0 {
		plans = append(plans, stats.ByName)
		for _, part := range parts {
			conditions = append(conditions, `folded_name like `+l.arg(`%`+likeEscapes.Replace(part)+`%`))
		}
	}
	if len(l.Attributes) > 0 {
		plans, conditions = append(plans, stats.ByAttribute), append(conditions, l.hasAttributes())
	}
	if len(plans) == 1 {
		return conditions, plans[0]
	}
	return conditions, stats.ByContent
}

// partsOf returns what the index of names is to look for, for names with a folded text: the last
// of its trigrams that hardly overlap, and words that are too short for one with what is around
// them. It is all of the text, of which PostgreSQL takes every trigram, where there are none to
// choose, or where the locale says what a letter is, and nothing where the text is too short.
func partsOf(text string) (parts []string) {
	if utf8.RuneCountInString(text) < trigram {
		return nil
	}
	for start, end := 0, 0; start < len(text); start = end + 1 {
		for end = start; end < len(text) && inWord(text[end]); end++ {
			if text[end] >= utf8.RuneSelf {
				return []string{text}
			}
		}
		switch word := text[start:end]; {
		case len(word) >= trigram:
			parts = addNew(parts, trigramsOf(word)...)
		case word != "" && min(end+1, len(text))-max(start-1, 0) >= trigram:
			parts = addNew(parts, text[max(start-1, 0):min(end+1, len(text))])
		}
	}
	if len(parts) < 2 {
		return []string{text}
	}
	return parts[max(0, len(parts)-maxParts):]
}

// addNew appends parts that are not there.
func addNew(parts []string, more ...string) []string {
	for _, part := range more {
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return parts
}

// inWord reports whether a byte of a folded text may be one of a word.
func inWord(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b >= utf8.RuneSelf }

// trigramsOf returns the trigrams of a word of ASCII that hardly overlap.
func trigramsOf(word string) (trigrams []string) {
	for i := 0; i+trigram <= len(word); i++ {
		if i%trigram == 0 || i+trigram == len(word) {
			trigrams = append(trigrams, word[i:i+trigram])
		}
	}
	return trigrams
}

var likeEscapes = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// users is the statement for the first users for whom conditions hold, as many as the page has
// room for.
func (l *listing) users(from string, conditions []string) string {
	return `select ` + userColumns + ` from ` + from + where(conditions) + l.order() + ` limit ` + l.arg(l.Room())
}

// arg returns the place of an argument.
func (l *listing) arg(value any) string {
	l.args = append(l.args, value)
	return "$" + strconv.Itoa(len(l.args))
}

func where(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return ` where ` + strings.Join(conditions, ` and `)
}

func (l *listing) order() string {
	if l.NewestFirst {
		return ` order by created_at desc, id desc`
	}
	return ` order by created_at, id`
}

// positions are the conditions for where users stand.
func (l *listing) positions() (conditions []string) {
	if l.Disabled != nil && *l.Disabled {
		conditions = append(conditions, `disabled`) // They have an index of their own.
	}
	if l.After != (store.Position{}) {
		forward := `>`
		if l.NewestFirst {
			forward = `<`
		}
		conditions = append(conditions, `(created_at, id) `+forward+` (`+l.arg(timestamp(l.After.CreatedAt))+`, `+l.arg(l.After.ID)+`)`)
	}
	if !l.CreatedAfter.IsZero() {
		conditions = append(conditions, `created_at >= `+l.arg(l.CreatedAfter))
	}
	if !l.CreatedBefore.IsZero() {
		conditions = append(conditions, `created_at < `+l.arg(l.CreatedBefore))
	}
	return conditions
}

func (l *listing) hasPrefix() string {
	prefix := store.FoldEmail(l.EmailPrefix)
	return `lower(email) >= ` + l.arg(prefix) + ` and lower(email) < ` + l.arg(prefix+"\U0010FFFF")
}

func (l *listing) hasRole() string { return `roles @> array[` + l.arg(l.Role) + `]` }

// hasAttributes has the second condition for the sake of the index, which leaves out users
// without attributes.
func (l *listing) hasAttributes() string {
	return `attributes @> ` + l.arg(l.attributes) + `::jsonb and attributes <> '{}'`
}

// filters are the conditions but for where users stand.
func (l *listing) filters() (conditions []string) {
	if l.EmailPrefix != "" {
		conditions = append(conditions, l.hasPrefix())
	}
	if l.Role != "" {
		conditions = append(conditions, l.hasRole())
	}
	if l.NameContains != "" {
		conditions = append(conditions, `position(`+l.arg(store.FoldName(l.NameContains))+` in folded_name) > 0`)
	}
	if l.Disabled != nil && !*l.Disabled {
		conditions = append(conditions, `not disabled`)
	}
	if len(l.Attributes) > 0 {
		conditions = append(conditions, l.hasAttributes())
	}
	if !l.InactiveSince.IsZero() {
		conditions = append(conditions, `coalesce(last_login, created_at) < `+l.arg(l.InactiveSince))
	}
	return conditions
}
