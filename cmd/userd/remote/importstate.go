package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/example/userd/cmd/userd/cli"
)

// importState is how far an import has come. It stands in a file beside the input until all files
// of the import are done, and is what --resume begins with.
type importState struct {
	Server     string    `json:"server"`
	Format     string    `json:"format"`
	OnConflict string    `json:"on_conflict"`
	Size       int64     `json:"size"` // Of the input, in bytes, as the import began.
	IDs        uuid.UUID `json:"ids"`  // What the ids of rows that bring none are made from.
	Rows       int       `json:"rows"` // From the begin that are done.
	Sum        string    `json:"sum"`  // Of these: SHA-256, in hexadecimal digits.
	Created    int       `json:"created"`
	Updated    int       `json:"updated"`
	Skipped    int       `json:"skipped"`
	Failed     int       `json:"failed"`
	Failures   int64     `json:"failures"` // Size of the file with the failed rows.
	FailuresTo string    `json:"failures_to"`
}

func newImportState(server, format, conflict string, size int64) importState {
	return importState{Server: server, Format: format, OnConflict: conflict, Size: size, IDs: uuid.New()}
}

// progressOf is where the state of the import of a file stands.
func progressOf(name string) string { return name + ".progress" }

// checkResume finds what cannot be gone on with. Files behind the last that has a state were not
// come to yet, and begin; one before it that has none may be done, and is not begun again.
func (f *importFlags) checkResume(files []string) error {
	if !f.resume || f.dryRun {
		return nil
	}
	hasState := func(name string) bool {
		_, err := os.Stat(progressOf(name))
		return err == nil
	}
	for n, name := range files {
		switch {
		case !hasPlace(name):
			return errors.New("--resume needs a file: what came by standard input is gone")
		case hasState(name):
		case slices.ContainsFunc(files[n:], hasState):
			return fmt.Errorf("there is nothing to resume of %s: there is no %s; leave it out, or import it alone", name, progressOf(name))
		case n == 0:
			return fmt.Errorf("there is nothing to resume: there is no %s", progressOf(name))
		}
	}
	return nil
}

// forget removes the states of an import that is over, from the first: where it is killed
// meanwhile, none begins anew.
func (f *importFlags) forget(files []string) error {
	for _, name := range files {
		if f.dryRun || !hasPlace(name) {
			continue
		}
		if err := os.Remove(progressOf(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// id is that of a row that brings none: the same whenever the row is sent again.
func (s *importState) id(row int) string {
	return uuid.NewSHA1(s.IDs, []byte(strconv.Itoa(row))).String()
}

// begin reads how far an earlier import of the file has come, if that is to go on. One that
// has counted no rows, but may have sent some, goes on in any case: they keep their ids.
func (i *fileImport) begin(fresh importState) error {
	i.state = fresh
	i.state.FailuresTo = absolute(i.failuresName)
	if i.progressName == "" {
		return nil
	}
	earlier, err := readImportState(i.progressName)
	if err != nil {
		return err
	}
	same := earlier.goesOnWith(fresh)
	switch {
	case i.flags.dryRun:
		return i.leaveFailures(earlier)
	case earlier == nil:
		return nil
	case earlier.Server == "" && earlier.Rows > 0:
		return cli.Wrong(fmt.Errorf("an import of this file by userd 0.1.0 was interrupted after %d rows: go on with that, "+
			"or remove %s and begin anew with --on-conflict skip", earlier.Rows, i.progressName))
	case !i.flags.resume && earlier.Rows > 0:
		return cli.Wrong(fmt.Errorf("an import of this file into %s was interrupted: go on with --resume, or remove %s to begin anew", earlier.Server, i.progressName))
	case i.flags.resume && !same:
		return cli.Wrong(fmt.Errorf("--resume needs the same file as before, --server %s, --format %s and --on-conflict %s", earlier.Server, earlier.Format, earlier.OnConflict))
	case same:
		return i.goOn(*earlier)
	}
	return nil
}

// readImportState reads a state, which is nil where there is none.
func readImportState(name string) (*importState, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	state := new(importState)
	if err := json.Unmarshal(text, state); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return state, nil
}

// leaveFailures refuses to write over the failed rows of an import that can go on.
func (i *fileImport) leaveFailures(earlier *importState) error {
	if earlier != nil && earlier.Failures > 0 && isSameFile(earlier.FailuresTo, i.failuresName) {
		return cli.Wrong(fmt.Errorf("%s has the failed rows of an import that was interrupted: name another file with --failures", i.failuresName))
	}
	return nil
}

// goesOnWith reports whether an import is the one that has stopped. Its rows that are done are
// looked at later.
func (s *importState) goesOnWith(fresh importState) bool {
	return s != nil && s.Server == fresh.Server && s.Format == fresh.Format && s.OnConflict == fresh.OnConflict && (s.Rows > 0 || s.Size == fresh.Size)
}

// goOn takes the state of an earlier import, and its file of failed rows if it has begun one.
func (i *fileImport) goOn(earlier importState) error {
	switch {
	case earlier.Failures == 0 || earlier.FailuresTo == i.state.FailuresTo:
		earlier.FailuresTo = i.state.FailuresTo
	case i.flags.failures != "":
		return cli.Wrong(fmt.Errorf("failed rows are in %s: --resume needs that with --failures, or nothing", earlier.FailuresTo))
	default:
		i.failuresName = earlier.FailuresTo
	}
	i.state = earlier
	return nil
}

// interrupted adds to an error how the import goes on, where it can; after other files it can
// though no row of this one is done.
func (i *fileImport) interrupted(err error, afterOthers bool) error {
	if i.state.Rows == 0 && !afterOthers || i.progressName == "" || i.flags.dryRun {
		return err
	}
	return fmt.Errorf("%w; %d rows are done: go on with --resume", err, i.state.Rows)
}

// save writes the state in one piece.
func (i *fileImport) save() error {
	if i.progressName == "" || i.flags.dryRun {
		return nil
	}
	text, err := json.Marshal(i.state)
	if err != nil {
		return err
	}
	part := i.progressName + ".part"
	if err := os.WriteFile(part, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(part, i.progressName)
}
