package remote

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/example/userd/cmd/userd/cli"
	"github.com/example/userd/cmd/userd/rows"
)

// hasPlace reports whether there can be files beside one: standard input has none, also as
// what the system shows of it, and neither has a pipe of a shell, such as <(…).
func hasPlace(name string) bool {
	full := absolute(name)
	return name != "-" && !strings.HasPrefix(full, "/dev/") && !strings.HasPrefix(full, "/proc/")
}

// failuresOf is where the failed rows of a file go. What is not CSV fails as JSON Lines. A dry
// run leaves those of imports where they are. Only an ending like theirs is left out: users.csv
// and users.csv.gz have a file each.
func (f *importFlags) failuresOf(name string) string {
	if f.failures != "" {
		return f.failures
	}
	what, ending := "failed", ".jsonl"
	if f.dryRun {
		what = "invalid"
	}
	if f.formatOf(name) == rows.CSV {
		ending = ".csv"
	}
	if !hasPlace(name) {
		return what + ending
	}
	return strings.TrimSuffix(name, ending) + "." + what + ending
}

// checkPlaces finds failed rows that would go into a file that is read, or where those of
// another file go: what is there would be lost.
func (f *importFlags) checkPlaces(files []string) error {
	for n, name := range files {
		to := f.failuresOf(name)
		for other, read := range files {
			switch {
			case isSameFile(to, read):
				return fmt.Errorf("rows of %s that fail would go to %s, which is to be read: import it alone, or name another file with --failures", name, to)
			case other < n && isSameFile(to, f.failuresOf(read)):
				return fmt.Errorf("rows of %s and %s that fail would go to the same file, %s: import one alone, and name another file with --failures", read, name, to)
			}
		}
	}
	return nil
}

// isSameFile reports whether two names are those of one file. It need not be there.
func isSameFile(a, b string) bool {
	if absolute(a) == absolute(b) {
		return true
	}
	first, err := statInput(a)
	if err != nil {
		return false
	}
	second, err := statInput(b)
	return err == nil && os.SameFile(first, second)
}

// statInput tells of a file, or of standard input.
func statInput(name string) (os.FileInfo, error) {
	if name == "-" {
		return os.Stdin.Stat()
	}
	return os.Stat(name)
}

// absolute is a name that is the same in each folder, if that can be told.
func absolute(name string) string {
	if full, err := filepath.Abs(name); err == nil {
		return full
	}
	return filepath.Clean(name)
}

// tryFailures finds out whether the file of failed rows can be written, before any row is sent.
// Where there was none it leaves none. Without a file beside which it is, or where nothing is
// sent, it is needed only when a row fails, unless it was named.
func (i *fileImport) tryFailures() error {
	if i.flags.failures == "" && (i.progressName == "" || i.flags.dryRun) {
		return nil
	}
	info, err := os.Stat(i.failuresName)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() { // To open a pipe is to wait for its reader.
		return nil
	}
	_, err = os.Lstat(i.failuresName) // A link to what is not there yet stays.
	missing := errors.Is(err, fs.ErrNotExist)
	file, err := os.OpenFile(i.failuresName, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return cannotKeep(err)
	}
	err = file.Close()
	if missing {
		err = errors.Join(err, os.Remove(i.failuresName))
	}
	return err
}

// cannotKeep is why failed rows cannot be written, and what to do.
func cannotKeep(err error) error {
	return cli.Wrong(fmt.Errorf("rows that fail cannot be kept: %w: name another file with --failures", err))
}

// fail writes a row that was not taken.
func (i *fileImport) fail(row rows.Row, why string) error {
	if i.failures == nil {
		if err := i.openFailures(); err != nil {
			return err
		}
	}
	return i.failureRows.Write(row, why)
}

// openFailures opens the file of rows that were not taken. It begins anew with an import, and
// goes on where an import does, unless it was taken away meanwhile.
func (i *fileImport) openFailures() error {
	file, err := os.OpenFile(i.failuresName, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return cannotKeep(err)
	}
	i.failures = file
	info, err := file.Stat()
	if err != nil {
		return err
	}
	begun := i.state.Failures
	if info.Size() < begun {
		begun = 0
	}
	if info.Mode().IsRegular() {
		if err := file.Truncate(begun); err != nil {
			return err
		}
		if _, err := file.Seek(begun, io.SeekStart); err != nil {
			return err
		}
	}
	i.failureRows = i.reader.Failures(file, begun > 0)
	return nil
}
