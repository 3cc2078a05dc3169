package sqlite

import (
	"strconv"
	"strings"

	"github.com/example/userd/store"
)

// cursorForm starts every cursor and says what follows: the start of the
// incarnation, and the last row of the log that has been read.
const cursorForm = "s1."

// format returns the cursor after a row of the log.
func (s *Store) format(seq int64) store.Cursor {
	return store.Cursor(s.cursorPrefix() + strconv.FormatInt(seq, 10))
}

// parse returns the row of the log that a cursor stands after, 0 for Earliest, and
// whether this store has made it.
func (s *Store) parse(cursor store.Cursor) (int64, bool) {
	if cursor == store.Earliest {
		return 0, true
	}
	digits, ok := strings.CutPrefix(string(cursor), s.cursorPrefix())
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseInt(digits, 10, 64)
	return seq, err == nil && seq >= 0 && digits == strconv.FormatInt(seq, 10)
}

func (s *Store) cursorPrefix() string { return cursorForm + s.identity.Incarnation[:8] + "." }
