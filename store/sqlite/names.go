package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/example/userd/store"
)

// byNameTime is how long a search looks into the index of names.
const byNameTime = 50 * time.Millisecond

const (
	namesStateSQL = `select followed, listed, folding, (select pruned from meta), (` + headSQL + `) from user_names_state`
	// Goes through all users, and through those who are in the index and may be gone.
	relistSQL   = `update user_names_state set followed = ?1, listed = '', folding = ?2`
	unfoldedSQL = `update user_names_state set folding = ''`
	followedSQL = `update user_names_state set followed = ?1`
	listedSQL   = `update user_names_state set listed = ?1`

	// One after the other: a join of them is prepared anew each time.
	nameToBeSQL     = `select display_name from users where id = ?1`
	indexedNameSQL  = `select row, name from user_names where id = ?1`
	addNameSQL      = `insert into user_names (id, name) values (?1, ?2)`
	changeNameSQL   = `update user_names set name = ?2 where row = ?1`
	dropNameSQL     = `delete from user_names where row = ?1`
	addTrigramsSQL  = `insert into user_names_trigrams (rowid, name) values (?1, ?2)`
	dropTrigramsSQL = `insert into user_names_trigrams (user_names_trigrams, rowid, name) values ('delete', ?1, ?2)`

	namesLikeSQL = `select rowid from user_names_trigrams where user_names_trigrams match ?1 limit ?2 + 0` // See changesSQL.
	// Whom the index has in these rows, and whom it has not seen since.
	candidatesSQL = `select json_group_array(id) from (
		select id from user_names where row in (select value from json_each(?1))
		union select user_id from changes where seq > ?2)`
)

// namesState is how far the index of names has come.
type namesState struct {
	followed     int64  // The last row of the log that is in it.
	listed       string // The last of the users whom it has gone through,
	complete     bool   // unless it has gone through all.
	folding      string
	pruned, head int64 // Of the log.
}

func readNamesState(conn *sqlite.Conn) (state namesState, err error) {
	err = sqlitex.Execute(conn, namesStateSQL, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		state = namesState{
			followed: stmt.ColumnInt64(0), listed: stmt.ColumnText(1), complete: stmt.ColumnIsNull(1),
			folding: stmt.ColumnText(2), pruned: stmt.ColumnInt64(3), head: stmt.ColumnInt64(4),
		}
		return nil
	}})
	return state, err
}

// current reports whether the index has the names of all users as they are.
func (s namesState) current() bool { return !s.broken() && s.complete && s.followed == s.head }

// broken reports whether there are changes that the index does not learn from the log.
func (s namesState) broken() bool {
	return s.followed < s.pruned || s.followed > s.head || s.folding != store.Folding
}

// helps reports whether the index, with the users who have changed since, knows all names.
func (s namesState) helps() bool { return !s.broken() && s.complete && s.head-s.followed <= few }

// nameChange is what the index has of a user, and what it is to have.
type nameChange struct {
	id             string
	there, indexed bool
	row            int64  // Of the index, where indexed.
	old, name      string // In the index, and as it is.
}

func readNameChange(conn *sqlite.Conn, id string) (nameChange, error) {
	c := nameChange{id: id}
	err := sqlitex.Execute(conn, nameToBeSQL, &sqlitex.ExecOptions{
		Args:       []any{id},
		ResultFunc: func(stmt *sqlite.Stmt) error { c.there, c.name = true, store.FoldName(stmt.ColumnText(0)); return nil },
	})
	if err != nil {
		return c, err
	}
	err = sqlitex.Execute(conn, indexedNameSQL, &sqlitex.ExecOptions{
		Args: []any{id},
		ResultFunc: func(stmt *sqlite.Stmt) error {
			c.indexed, c.row, c.old = true, stmt.ColumnInt64(0), stmt.ColumnText(1)
			return nil
		},
	})
	return c, err
}

// inOrderOfRows is the order in which the index takes many changes at once: it writes what it
// has gathered whenever a row comes that is before the last. New rows are behind all others.
func inOrderOfRows(a, b nameChange) int {
	switch {
	case a.indexed && b.indexed:
		return cmp.Compare(a.row, b.row)
	case a.indexed:
		return -1
	case b.indexed:
		return 1
	}
	return 0
}

// write makes the index have the name of a user as it is, or nothing of one who is gone.
func (c nameChange) write(conn *sqlite.Conn) error {
	switch {
	case c.there == c.indexed && c.name == c.old:
		return nil
	case !c.indexed:
		return addName(conn, c.id, c.name)
	case !c.there:
		return dropName(conn, c.row, c.old)
	}
	return changeName(conn, c.row, c.old, c.name)
}

func addName(conn *sqlite.Conn, id, name string) error {
	if err := exec(conn, addNameSQL, id, name); err != nil {
		return err
	}
	return exec(conn, addTrigramsSQL, conn.LastInsertRowID(), name)
}

func dropName(conn *sqlite.Conn, row int64, name string) error {
	if err := exec(conn, dropTrigramsSQL, row, name); err != nil {
		return err
	}
	return exec(conn, dropNameSQL, row)
}

func changeName(conn *sqlite.Conn, row int64, old, name string) error {
	dropped, added := differing(old, name)
	if err := exec(conn, dropTrigramsSQL, row, dropped); err != nil {
		return err
	}
	if err := exec(conn, changeNameSQL, row, name); err != nil {
		return err
	}
	return exec(conn, addTrigramsSQL, row, added)
}

// differing returns the parts of two names that have the trigrams in which they differ. They
// are the whole names where one of those is also in what they share, since the index has it
// once, and where there is a character at which the index stops reading or that it takes for
// another one, U+FFFD.
func differing(old, name string) (dropped, added string) {
	if strings.ContainsAny(old+name, "\x00\uFFFE\uFFFF") {
		return old, name
	}
	a, b := []rune(old), []rune(name)
	head, tail := sharedEnds(a, b)
	dropped, added = differingPart(a, head, tail), differingPart(b, head, tail)
	for _, shared := range [][]rune{a[:head], a[len(a)-tail:]} {
		for i := 0; i+3 <= len(shared); i++ {
			trigram := string(shared[i : i+3])
			if strings.Contains(dropped, trigram) || strings.Contains(added, trigram) {
				return old, name
			}
		}
	}
	return dropped, added
}

// sharedEnds returns how many characters two names share at either end, none of them twice.
func sharedEnds(a, b []rune) (head, tail int) {
	shorter := min(len(a), len(b))
	for head < shorter && a[head] == b[head] {
		head++
	}
	for tail < shorter-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return head, tail
}

// differingPart is what is between the shared ends of a name, with the two characters on
// either side that are in trigrams with it.
func differingPart(name []rune, head, tail int) string {
	return string(name[max(0, head-2) : len(name)-max(0, tail-2)])
}

// trigramsOf is the full-text query for names with the trigrams of a folded text side by
// side, as many as are worth it. It is empty where the text is too short to have one.
func trigramsOf(text string) string {
	const enough = 12
	runes := []rune(text)
	var query []string
	for i := 0; i+3 <= len(runes) && len(query) < enough; i++ {
		trigram := string(runes[i : i+3])
		if (i%3 == 0 || i+3 == len(runes)) && !strings.Contains(trigram, "\x00") {
			query = append(query, `"`+strings.ReplaceAll(trigram, `"`, `""`)+`"`)
		}
	}
	return strings.Join(query, " AND ")
}

// namesLike returns the ids of all users whose names may match a query of trigrams, as a JSON
// array, and whether the index knows them in time, and they are few.
func (l *listing) namesLike(ctx context.Context, query string) (ids string, known bool, err error) {
	defer sqlitex.Transaction(l.conn)(&err)
	state, err := readNamesState(l.conn)
	if err != nil || !state.helps() {
		return "", false, err
	}
	rows, inTime, err := rowsLike(ctx, l.conn, query, l.byNameTime)
	if err != nil {
		return "", false, err
	}
	if l.late = !inTime; l.late || len(rows) > few {
		l.inVain.Add(query, l.now())
		return "", false, nil
	}
	list, err := json.Marshal(rows)
	if err != nil {
		return "", false, err
	}
	err = sqlitex.Execute(l.conn, candidatesSQL, &sqlitex.ExecOptions{
		Args:       []any{string(list), state.followed},
		ResultFunc: func(stmt *sqlite.Stmt) error { ids = stmt.ColumnText(0); return nil },
	})
	return ids, true, err
}

// rowsLike returns the rows of the index that a query finds, one more than few at most, and
// whether they were found in time.
func rowsLike(ctx context.Context, conn *sqlite.Conn, query string, limit time.Duration) (rows []int64, inTime bool, err error) {
	limited, stop := context.WithTimeout(ctx, limit)
	defer stop()
	defer conn.SetInterrupt(conn.SetInterrupt(limited.Done()))
	err = sqlitex.Execute(conn, namesLikeSQL, &sqlitex.ExecOptions{
		Args:       []any{query, few + 1},
		ResultFunc: func(stmt *sqlite.Stmt) error { rows = append(rows, stmt.ColumnInt64(0)); return nil },
	})
	if sqlite.ErrCode(err) == sqlite.ResultInterrupt && ctx.Err() == nil {
		return nil, false, nil
	}
	return rows, true, err
}
