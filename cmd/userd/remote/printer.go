package remote

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/example/userd/cmd/userd/rows"
	userv1 "github.com/example/userd/gen/user/v1"
)

// Escapes of terminals.
const (
	bold   = "\x1b[1m"
	normal = "\x1b[0m"
)

// tableLines are written at a time, in columns that fit them.
const tableLines = 100

// printer writes for people where the output is a terminal, else columns with tabs between
// them for other programs, or JSON, a message a line.
type printer struct {
	out      io.Writer
	json     bool
	terminal bool
	colour   bool
	lines    []string // That wait for their table.
	headed   bool
	begun    bool // The head was written.
}

func newPrinter(out io.Writer, asJSON bool) *printer {
	file, ok := out.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	return &printer{out: out, json: asJSON, terminal: terminal, colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// message writes a message as one line of JSON.
func (p *printer) message(message proto.Message) error { return rows.WriteLine(p.out, message) }

var columns = []string{"ID", "EMAIL", "NAME", "ROLES", "STATE", "CREATED", "LAST LOGIN"}

// row writes a user as a line of the table.
func (p *printer) row(user *userv1.User) error {
	if p.json {
		return p.message(user)
	}
	state := "active"
	if user.GetDisabled() {
		state = "disabled"
	}
	return p.line(columns, user.GetId(), user.GetEmail(), user.GetDisplayName(), strings.Join(user.GetRoles(), " "), state, when(user.GetCreatedAt()), when(user.GetLastLogin()))
}

// line adds a line to the table with these columns.
func (p *printer) line(header []string, cells ...string) error {
	for i, cell := range cells {
		cells[i] = printable(cell)
	}
	if !p.headed {
		p.headed = true
		p.lines = append(p.lines, strings.Join(header, "\t"))
	}
	p.lines = append(p.lines, strings.Join(cells, "\t"))
	if p.terminal && len(p.lines) < tableLines {
		return nil
	}
	return p.flush()
}

// flush writes what waits.
func (p *printer) flush() error {
	lines := p.lines
	p.lines = nil
	var text bytes.Buffer
	if !p.terminal {
		for _, line := range lines {
			text.WriteString(line + "\n")
		}
	} else {
		table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
		for _, line := range lines {
			fmt.Fprintln(table, line)
		}
		_ = table.Flush() // Into memory.
	}
	if head, rest, ok := strings.Cut(text.String(), "\n"); ok && p.colour && !p.begun {
		p.begun = true
		text.Reset()
		text.WriteString(bold + head + normal + "\n" + rest)
	}
	_, err := p.out.Write(text.Bytes())
	return err
}

// user writes all of a user.
func (p *printer) user(user *userv1.User) error {
	if p.json {
		return p.message(user)
	}
	fields := [][2]string{
		{"id", user.GetId()},
		{"email", user.GetEmail()},
		{"display_name", user.GetDisplayName()},
		{"roles", strings.Join(user.GetRoles(), " ")},
		{"disabled", strconv.FormatBool(user.GetDisabled())},
		{"external_id", user.GetExternalId()},
		{"created_at", when(user.GetCreatedAt())},
		{"updated_at", when(user.GetUpdatedAt())},
		{"last_login", when(user.GetLastLogin())},
		{"version", strconv.FormatInt(user.GetVersion(), 10)},
	}
	for _, name := range slices.Sorted(maps.Keys(user.GetAttributes())) {
		fields = append(fields, [2]string{"attributes." + name, user.GetAttributes()[name]})
	}
	for _, field := range fields {
		if err := p.line([]string{"FIELD", "VALUE"}, field[0], field[1]); err != nil {
			return err
		}
	}
	return p.flush()
}

// when is a time as people and programs read it, or "".
func when(at *timestamppb.Timestamp) string {
	if at == nil {
		return ""
	}
	return at.AsTime().Format(time.RFC3339Nano)
}

// printable is a text without what terminals and tables would take for their own.
func printable(text string) string {
	if !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}
