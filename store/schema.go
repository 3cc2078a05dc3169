package store

import "fmt"

// Schema says which version of the schema a database has. Each engine numbers its
// own.
type Schema struct {
	Current int64 // Version in the database; 0 for none.
	Wanted  int64 // Version that this program works with.
}

// Check returns nil when the versions are the same, and otherwise what to do, in
// one line.
func (s Schema) Check() error {
	switch {
	case s.Current < s.Wanted:
		return fmt.Errorf("the database has schema version %d and this userd needs %d: run `userd migrate up`", s.Current, s.Wanted)
	case s.Current > s.Wanted:
		return fmt.Errorf("the database has schema version %d and this userd knows only %d: run a newer userd (`userd migrate up` does not go back)", s.Current, s.Wanted)
	}
	return nil
}
