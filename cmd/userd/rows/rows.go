package rows

import (
	"fmt"
	"hash"
	"io"
	"path/filepath"
	"strings"

	userv1 "github.com/example/userd/gen/user/v1"
)

// Row is a row of a file.
type Row struct {
	User *userv1.CreateUserRequest // Nil where the row is none.
	Why  string                    // Why not.
	text any                       // The row as it stands there, in the form of its reader.
}

// AddTo adds the row, as it stands in its file, to a sum.
func (r Row) AddTo(sum hash.Hash) {
	fields, ok := r.text.([]string)
	if !ok {
		fields = []string{string(r.text.([]byte))}
	}
	for _, field := range fields {
		fmt.Fprintf(sum, "%d:%s,", len(field), field)
	}
	fmt.Fprintln(sum)
}

// Reader reads rows.
type Reader interface {
	// Read returns the next row, or io.EOF. Any other error is of the file, not of the row.
	Read() (Row, error)
	// Failures returns a writer of rows that were not taken, in the form of what was read.
	// What it writes of CSV and JSON Lines can be read again. begun says that there are such rows already.
	Failures(out io.Writer, begun bool) FailureWriter
}

// FailureWriter writes rows that were not taken.
type FailureWriter interface {
	Write(row Row, why string) error
}

// Writer writes users.
type Writer interface {
	Write(user *userv1.User) error
	// Flush writes what waits.
	Flush() error
}

// Formats that can be read.
const (
	CSV       = "csv"
	JSONLines = "jsonl"
	Firebase  = "firebase"
	Keycloak  = "keycloak"
	Auth0     = "auth0"
)

// NewReader reads a format.
func NewReader(format string, in io.Reader) (Reader, error) {
	in, err := withoutMark(in)
	if err != nil {
		return nil, err
	}
	switch format {
	case CSV:
		return newCSVReader(in)
	case JSONLines:
		return newLineReader(in, parseMessage), nil
	case Firebase:
		return newListReader(in, parseFirebase), nil
	case Keycloak:
		return newListReader(in, parseKeycloak), nil
	case Auth0:
		return newLineReader(in, parseAuth0), nil
	}
	return nil, fmt.Errorf("the format must be %s, %s, %s, %s or %s", CSV, JSONLines, Firebase, Keycloak, Auth0)
}

// FormatOf is the format that the name of a file stands for. Without one that is known it
// is JSON Lines.
func FormatOf(name string) string {
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	if strings.EqualFold(filepath.Ext(name), ".csv") {
		return CSV
	}
	return JSONLines
}
