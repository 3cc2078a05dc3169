package rows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
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

var notInNames = regexp.MustCompile(`[^a-z0-9_.-]+`)

// nameOf makes what elsewhere is a name of an attribute or role one of ours: in lower case,
// with _ for what is not allowed.
func nameOf(name string) string {
	name = strings.Trim(notInNames.ReplaceAllString(strings.ToLower(name), "_"), "_")
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		name = "x" + name
	}
	return name
}

// setAttributes keeps values of JSON: texts as they are, all others as JSON.
func setAttributes(user *userv1.CreateUserRequest, prefix string, values map[string]json.RawMessage) {
	for name, value := range values {
		var text string
		if json.Unmarshal(value, &text) != nil {
			var compact bytes.Buffer
			_ = json.Compact(&compact, value) // It was read from JSON.
			text = compact.String()
		}
		setAttribute(user, prefix+nameOf(name), text)
	}
}

// setText keeps a text that is there as an attribute.
func setText(user *userv1.CreateUserRequest, name, value string) {
	if value != "" {
		setAttribute(user, name, value)
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
