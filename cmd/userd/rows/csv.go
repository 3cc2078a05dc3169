package rows

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
)

// columns are those of a CSV, but for attributes, in the order in which they are written.
var columns = []string{"user_id", "email", "display_name", "roles", "disabled", "external_id", "created_at", "last_login"}

const (
	attributePrefix = "attributes."
	failureColumn   = "failure" // Why a row was not taken.
)

type csvReader struct {
	in     *csv.Reader
	header []string
}

func newCSVReader(in io.Reader) (*csvReader, error) {
	r := &csvReader{in: csv.NewReader(in)}
	r.in.FieldsPerRecord = -1 // A row with too few is a row that fails.
	header, err := r.in.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: a CSV begins with the names of its columns")
	}
	if err != nil {
		return nil, err
	}
	if other := separatorOf(header[0]); other != "" {
		return nil, fmt.Errorf("the columns are separated by %s: separate them by commas", other)
	}
	for i, name := range header {
		if !isColumn(name) {
			return nil, fmt.Errorf("there is no column %q; there are %s and attributes.NAME", name, strings.Join(columns, ", "))
		}
		if !utf8.ValidString(name) {
			return nil, fmt.Errorf("the name of the column %q must be UTF-8", name)
		}
		if slices.Contains(header[:i], name) {
			return nil, fmt.Errorf("the column %q is there twice", name)
		}
	}
	r.header = header
	return r, nil
}

func isColumn(name string) bool {
	return slices.Contains(columns, name) || strings.HasPrefix(name, attributePrefix) || name == failureColumn
}

// separatorOf is by what names are separated that were read as one: spreadsheets write semicolons
// where a comma begins the decimals, and some programs tabs.
func separatorOf(name string) string {
	for separator, called := range map[string]string{";": "semicolons", "\t": "tabs"} {
		if first, _, others := strings.Cut(name, separator); others && isColumn(first) {
			return called
		}
	}
	return ""
}

func (r *csvReader) Read() (Row, error) {
	record, err := r.in.Read()
	if err != nil {
		return Row{}, err
	}
	row := Row{text: record}
	user, err := r.parse(record)
	if err != nil {
		row.Why = err.Error()
	} else {
		row.User = user
	}
	return row, nil
}

func (r *csvReader) parse(record []string) (*userv1.CreateUserRequest, error) {
	if len(record) != len(r.header) {
		return nil, fmt.Errorf("the row has %d fields, and the header %d", len(record), len(r.header))
	}
	user := new(userv1.CreateUserRequest)
	for i, value := range record {
		if err := setColumn(user, r.header[i], value); err != nil {
			return nil, fmt.Errorf("%s: %w", r.header[i], err)
		}
	}
	return user, nil
}

// setColumn gives a user what a field of a CSV holds.
func setColumn(user *userv1.CreateUserRequest, column, value string) (err error) {
	if value == "" {
		return nil
	}
	if !utf8.ValidString(value) {
		return errors.New("must be UTF-8")
	}
	switch column {
	case "user_id":
		user.UserId = value
	case "email":
		user.Email = value
	case "display_name":
		user.DisplayName = value
	case "roles":
		user.Roles = strings.Fields(value)
	case "external_id":
		user.ExternalId = value
	case "disabled":
		if user.Disabled, err = strconv.ParseBool(value); err != nil {
			return errors.New("must be true or false")
		}
	case "created_at":
		user.CreatedAt, err = parseTime(value)
	case "last_login":
		user.LastLogin, err = parseTime(value)
	default:
		if name, ok := strings.CutPrefix(column, attributePrefix); ok {
			setAttribute(user, name, value)
		}
	}
	return err
}

func setAttribute(user *userv1.CreateUserRequest, name, value string) {
	if user.Attributes == nil {
		user.Attributes = make(map[string]string)
	}
	user.Attributes[name] = value
}

func parseTime(text string) (*timestamppb.Timestamp, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, errors.New("must be a time such as 2026-01-31T12:00:00Z")
	}
	return timestamppb.New(at), nil
}

func (r *csvReader) Failures(out io.Writer, begun bool) FailureWriter {
	return &csvFailures{csv.NewWriter(out), r.header, begun}
}

type csvFailures struct {
	out    *csv.Writer
	header []string
	headed bool
}

// Write puts the reason before the other cells, which stay as they came, however many they are.
func (f *csvFailures) Write(row Row, why string) error {
	earlier := slices.Index(f.header, failureColumn)
	if !f.headed {
		f.headed = true
		_ = f.out.Write(withReason(f.header, earlier, failureColumn)) // Flush tells.
	}
	_ = f.out.Write(withReason(row.text.([]string), earlier, why))
	f.out.Flush()
	return f.out.Error()
}

// withReason puts a reason before a record, in which that of an earlier import may stand.
func withReason(record []string, earlier int, why string) []string {
	cells := []string{why}
	for at, cell := range record {
		if at != earlier {
			cells = append(cells, cell)
		}
	}
	return cells
}

// csvWriter writes a CSV that has a column for each of these attributes.
type csvWriter struct {
	out        *csv.Writer
	attributes []string
	headed     bool
}

// NewCSVWriter writes a CSV. Its columns have to be known before: names are those of all
// attributes that come.
func NewCSVWriter(out io.Writer, names []string) Writer {
	return &csvWriter{out: csv.NewWriter(out), attributes: names}
}

func (w *csvWriter) head() {
	if w.headed {
		return
	}
	w.headed = true
	header := slices.Clone(columns)
	for _, name := range w.attributes {
		header = append(header, attributePrefix+name)
	}
	_ = w.out.Write(header) // Flush tells.
}

func (w *csvWriter) Write(user *userv1.User) error {
	w.head()
	record := []string{
		user.GetId(), user.GetEmail(), user.GetDisplayName(), strings.Join(user.GetRoles(), " "),
		strconv.FormatBool(user.GetDisabled()), user.GetExternalId(), formatTime(user.GetCreatedAt()), formatTime(user.GetLastLogin()),
	}
	written := 0
	for _, name := range w.attributes {
		value, ok := user.GetAttributes()[name]
		if ok {
			written++
		}
		if ok && (value == "" || strings.Contains(value, "\r")) {
			return fmt.Errorf("the attribute %s of user %s cannot stand in a CSV, since it is empty or has a carriage return: write JSON Lines", name, user.GetId())
		}
		record = append(record, value)
	}
	if written != len(user.GetAttributes()) {
		return errors.New("attributes have come while the file was written: begin again, or write JSON Lines")
	}
	return w.out.Write(record)
}

func (w *csvWriter) Flush() error {
	w.head()
	w.out.Flush()
	return w.out.Error()
}

func formatTime(at *timestamppb.Timestamp) string {
	if at == nil {
		return ""
	}
	return at.AsTime().Format(time.RFC3339Nano)
}
