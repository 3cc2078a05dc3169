package rows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "github.com/example/userd/gen/user/v1"
)

// listReader reads the objects of the list "users" of one JSON object, one by one.
type listReader struct {
	in     *json.Decoder
	parse  func([]byte) (*userv1.CreateUserRequest, error)
	inside bool
}

func newListReader(in io.Reader, parse func([]byte) (*userv1.CreateUserRequest, error)) *listReader {
	return &listReader{in: json.NewDecoder(in), parse: parse}
}

func (r *listReader) Read() (Row, error) {
	if !r.inside {
		if err := r.enter(); err != nil {
			return Row{}, err
		}
		r.inside = true
	}
	if !r.in.More() {
		if _, err := r.in.Token(); err != nil { // The end of the list.
			return Row{}, fmt.Errorf("the file is no JSON, or ends too early: %w", early(err))
		}
		return Row{}, io.EOF
	}
	var text json.RawMessage
	if err := r.in.Decode(&text); err != nil {
		return Row{}, fmt.Errorf("the file is no JSON, or ends too early: %w", early(err))
	}
	return parsed(text, r.parse), nil
}

// early is an error of a file that is not whole. That it ends is not the end of its rows.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unmarshalObject reads an object of JSON. Null is none.
func unmarshalObject(text []byte, to any) error {
	if string(text) == "null" {
		return errors.New("it is null")
	}
	return json.Unmarshal(text, to)
}

// enter goes to the begin of the list.
func (r *listReader) enter() error {
	start, err := r.in.Token()
	if err != nil || start != json.Delim('{') {
		return errors.New(`the file must be a JSON object with the list "users"`)
	}
	for r.in.More() {
		name, err := r.in.Token()
		if err != nil {
			return early(err)
		}
		if name == "users" {
			if list, err := r.in.Token(); err != nil || list != json.Delim('[') {
				return errors.New(`"users" must be a list`)
			}
			return nil
		}
		var other json.RawMessage
		if err := r.in.Decode(&other); err != nil {
			return early(err)
		}
	}
	return errors.New(`there is no list "users"`)
}

// Failures writes JSON Lines: a list could not be gone on with. Each line is in the form of
// the other system.
func (r *listReader) Failures(out io.Writer, _ bool) FailureWriter { return jsonFailures{out} }

// What is not allowed in names of ours.
var (
	notInAttributes = regexp.MustCompile(`[^a-z0-9_.-]+`)
	notInRoles      = regexp.MustCompile(`[^a-z0-9_.:-]+`)
)

// nameOf makes what elsewhere is a name of an attribute or role one of ours: in lower case,
// with _ for what is not allowed, and x before what is no letter.
func nameOf(name string, notAllowed *regexp.Regexp) string {
	name = strings.Trim(notAllowed.ReplaceAllString(strings.ToLower(name), "_"), "_")
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		name = "x" + name
	}
	return name
}

// renaming gives a user attributes and roles whose names elsewhere are not ours. Where two
// names become one, only one of what they stand for could be kept: that is an error.
type renaming struct {
	user   *userv1.CreateUserRequest
	theirs map[string]string // The name elsewhere, by what it is here.
	err    error             // The first two that become one.
}

func newRenaming(user *userv1.CreateUserRequest) *renaming {
	return &renaming{user: user, theirs: make(map[string]string)}
}

// take takes what is ours, such as "role admin", for a name elsewhere. It may stand for two
// that are the same.
func (r *renaming) take(ours, theirs string, same bool) {
	if other, taken := r.theirs[ours]; taken && !same && r.err == nil {
		r.err = fmt.Errorf("%s and %s would both become the %s", other, theirs, ours)
	}
	r.theirs[ours] = theirs
}

func (r *renaming) attribute(theirs, ours, value string) {
	r.take("attribute "+ours, theirs, r.user.GetAttributes()[ours] == value)
	setAttribute(r.user, ours, value)
}

// text keeps a text that is there as an attribute.
func (r *renaming) text(theirs, ours, value string) {
	if value != "" {
		r.attribute(theirs, ours, value)
	}
}

// values keeps values of JSON as attributes: texts as they are, all others but null as JSON.
// Names begin with a prefix, there and here.
func (r *renaming) values(theirs, ours string, values map[string]json.RawMessage) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		var text *string
		if json.Unmarshal(values[name], &text) != nil {
			var compact bytes.Buffer
			_ = json.Compact(&compact, values[name]) // It was read from JSON.
			text = new(compact.String())
		}
		if text != nil {
			r.attribute(theirs+name, ours+nameOf(name, notInAttributes), *text)
		}
	}
}

func (r *renaming) roles(roles []string) {
	for _, role := range roles {
		name := nameOf(role, notInRoles)
		r.take("role "+name, role, false)
		r.user.Roles = append(r.user.Roles, name)
	}
}

// milliseconds is a time since 1970, or nil for 0.
func milliseconds(n int64) *timestamppb.Timestamp {
	if n == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(n))
}

// firstOf is the first text that is not empty.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" {
			return text
		}
	}
	return ""
}
