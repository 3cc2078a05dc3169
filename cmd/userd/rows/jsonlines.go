package rows

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
)

// maxLine is more than a row has, in bytes.
const maxLine = 1 << 20

// lineReader reads a JSON object from each line. Empty lines are none.
type lineReader struct {
	in    *bufio.Scanner
	parse func(text []byte) (*userv1.CreateUserRequest, error)
}

func newLineReader(in io.Reader, parse func([]byte) (*userv1.CreateUserRequest, error)) *lineReader {
	r := &lineReader{bufio.NewScanner(in), parse}
	r.in.Buffer(nil, maxLine)
	return r
}

func (r *lineReader) Read() (Row, error) {
	for r.in.Scan() {
		if line := bytes.TrimSpace(r.in.Bytes()); len(line) > 0 {
			return parsed(bytes.Clone(line), r.parse), nil
		}
	}
	if errors.Is(r.in.Err(), bufio.ErrTooLong) {
		return Row{}, fmt.Errorf("a line has more than %d bytes: this is no JSON Lines", maxLine)
	}
	if r.in.Err() != nil {
		return Row{}, r.in.Err()
	}
	return Row{}, io.EOF
}

// parsed is the row that an object is.
func parsed(text []byte, parse func([]byte) (*userv1.CreateUserRequest, error)) Row {
	row := Row{text: text}
	user, err := parse(text)
	if err != nil {
		row.Why = err.Error()
	} else {
		row.User = user
	}
	return row
}

// parseMessage reads a CreateUserRequest. What an earlier import says of it is left out.
func parseMessage(text []byte) (*userv1.CreateUserRequest, error) {
	var fields map[string]json.RawMessage
	if err := unmarshalObject(text, &fields); err != nil {
		return nil, errors.New("the line is no JSON object")
	}
	if _, failed := fields[failureColumn]; failed {
		delete(fields, failureColumn)
		text, _ = json.Marshal(fields) // It was read from JSON.
	}
	user := new(userv1.CreateUserRequest)
	if err := protojson.Unmarshal(text, user); err != nil {
		return nil, errors.New("a field is unknown, or is not as JSON has it: " + err.Error())
	}
	return user, nil
}

func (r *lineReader) Failures(out io.Writer, _ bool) FailureWriter { return jsonFailures{out} }

// jsonFailures writes JSON objects, with the reason among their fields.
type jsonFailures struct{ out io.Writer }

func (f jsonFailures) Write(row Row, why string) error {
	fields := make(map[string]json.RawMessage)
	reason, _ := json.Marshal(why) // Of a string.
	if text := row.text.([]byte); unmarshalObject(text, &fields) != nil {
		fields = make(map[string]json.RawMessage)
		fields["line"], _ = json.Marshal(string(text))
	}
	fields[failureColumn] = reason
	line, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	_, err = f.out.Write(append(line, '\n'))
	return err
}

// lineWriter writes the message that creates a user on each line.
type lineWriter struct{ out *bufio.Writer }

// NewLineWriter writes JSON Lines.
func NewLineWriter(out io.Writer) Writer { return lineWriter{bufio.NewWriter(out)} }

func (w lineWriter) Write(user *userv1.User) error {
	return WriteLine(w.out, &userv1.CreateUserRequest{
		UserId: user.GetId(), Email: user.GetEmail(), DisplayName: user.GetDisplayName(), Roles: user.GetRoles(),
		ExternalId: user.GetExternalId(), Attributes: user.GetAttributes(), Disabled: user.GetDisabled(),
		CreatedAt: user.GetCreatedAt(), LastLogin: user.GetLastLogin(),
	})
}

func (w lineWriter) Flush() error { return w.out.Flush() }

// WriteLine writes a message as one line of JSON.
func WriteLine(out io.Writer, message proto.Message) error {
	text, err := protojson.Marshal(message)
	if err != nil {
		return err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil { // protojson puts blanks in at random.
		return err
	}
	line.WriteByte('\n')
	_, err = out.Write(line.Bytes())
	return err
}
