package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/failure"
)

// Undecodable is why a message of a kind cannot be decoded, in the binary form or as JSON. It
// is looked for in the message itself: the protobuf runtime tells it, in cause, by texts that
// hold values.
func Undecodable(data []byte, message protoreflect.MessageDescriptor, binary bool, cause error) error {
	look := jsonFault
	if binary {
		look = protoFault
	}
	return look(data, message).asError(cause)
}

// fault is what is wrong with a message.
type fault struct {
	unknown bool   // There is no such field.
	field   string // Empty where no field can be named.
	problem string // Without values of the message.
}

// asError is the fault as an error of a codec.
func (f fault) asError(cause error) error {
	reason := userv1.Reason_REASON_MALFORMED_REQUEST
	if f.unknown {
		reason = userv1.Reason_REASON_UNKNOWN_FIELD
	}
	status := failure.Status{Code: connect.CodeInvalidArgument, Reason: reason, Field: f.field, Text: f.problem}
	return failure.NewDecodeError(status, cause)
}

// within is the path of a field of a message that has a name, or is the request itself.
func within(message, field string) string {
	if message == "" {
		return field
	}
	return message + "." + field
}

// fieldName is what an unknown field may be called to be named: it is the caller's, and may be
// anything.
var fieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)

// protoFault is what is wrong with a message in the binary form.
func protoFault(data []byte, message protoreflect.MessageDescriptor) fault {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		size := protowire.ConsumeFieldValue(number, kind, data[max(n, 0):])
		if n < 0 || size < 0 {
			break
		}
		value := data[n : n+size]
		data = data[n+size:]
		field := message.Fields().ByNumber(number)
		if field == nil || kind != protowire.BytesType {
			continue
		}
		content, _ := protowire.ConsumeBytes(value) // It was measured above.
		switch {
		case field.Kind() == protoreflect.StringKind && !utf8.Valid(content):
			return fault{field: string(field.Name()), problem: "must be valid UTF-8"}
		case field.Kind() == protoreflect.MessageKind:
			inner := protoFault(content, field.Message())
			switch {
			case inner.field == "":
			case field.IsMap():
				return fault{field: string(field.Name()), problem: inner.problem} // Not what the message of an entry calls its parts.
			default:
				return fault{field: within(string(field.Name()), inner.field), problem: inner.problem}
			}
		}
	}
	return fault{problem: "the request is not a valid protobuf message of this method"}
}

// jsonFault is what is wrong with a message in JSON.
func jsonFault(data []byte, message protoreflect.MessageDescriptor) fault {
	if !utf8.Valid(data) {
		return fault{problem: "the request is not valid UTF-8"}
	}
	w := jsonWalker{json.NewDecoder(bytes.NewReader(data)), data}
	w.UseNumber()
	err := w.message("", message)
	if err == nil {
		if _, err = w.Token(); err == nil {
			err = fault{problem: "the request goes on after its message"}
		}
	}
	found, syntax := fault{}, new(json.SyntaxError)
	switch {
	case errors.As(err, &found):
		return found
	case errors.As(err, &syntax) && errors.As(json.Unmarshal(data, new(json.RawMessage)), &syntax): // A walker's offset leaves out tokens.
		line, column := position(data, syntax.Offset)
		return fault{problem: fmt.Sprintf("the request is not valid JSON, at line %d, column %d", line, column)}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault{problem: "the request is not valid JSON: it ends too early"}
	}
	return fault{problem: "the request is not valid JSON for this method"}
}

// position is the line and column of the last of some bytes, from 1.
func position(data []byte, offset int64) (line, column int) {
	before := data[:min(max(offset-1, 0), int64(len(data)))]
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}

// Error implements error, so that a walk can end with a fault.
func (f fault) Error() string { return f.problem }

// jsonWalker follows a message through its JSON, until something does not fit.
type jsonWalker struct {
	*json.Decoder
	data []byte // All that is decoded.
}

// next is the next token. That there is none is an error.
func (w jsonWalker) next() (json.Token, error) {
	token, err := w.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return token, err
}

// message follows a message, or the request itself where it has no name.
func (w jsonWalker) message(name string, message protoreflect.MessageDescriptor) error {
	seen := make(map[protoreflect.FieldNumber]bool)
	return w.each('{', objectFault(name), func() error {
		token, err := w.next()
		if err != nil {
			return err
		}
		key, _ := token.(string) // Keys are nothing else.
		field := message.Fields().ByJSONName(key)
		if field == nil {
			field = message.Fields().ByTextName(key)
		}
		switch {
		case field == nil:
			return unknownField(name, key, message)
		case seen[field.Number()]:
			return fault{field: within(name, key), problem: "must be given once"}
		}
		seen[field.Number()] = true
		return w.field(within(name, key), field)
	})
}

// unknownField is for a member that is no field of a message, and tells which are.
func unknownField(name, key string, of protoreflect.MessageDescriptor) fault {
	field := ""
	if fieldName.MatchString(key) {
		field = within(name, key)
	}
	problem := "there is no such field"
	fields := make([]string, of.Fields().Len())
	for i := range fields {
		fields[i] = of.Fields().Get(i).JSONName()
	}
	if len(fields) > 0 {
		problem += fmt.Sprintf("; %s has %s", of.Name(), strings.Join(fields, ", "))
	}
	return fault{unknown: true, field: field, problem: problem}
}

// each calls f for each member of an object or element of a list. What does not begin as
// one is otherwise; null is one without any, but for the request itself.
func (w jsonWalker) each(begin json.Delim, otherwise fault, f func() error) error {
	switch token, err := w.next(); {
	case err != nil || token == nil && otherwise.field != "":
		return err
	case token != begin:
		return otherwise
	}
	for w.More() {
		if err := f(); err != nil {
			return err
		}
	}
	_, err := w.next()
	return err
}

// objectFault is for what is no object. Without a name it is the request itself.
func objectFault(name string) fault {
	if name == "" {
		return fault{problem: "the request must be a JSON object"}
	}
	return fault{field: name, problem: "must be an object"}
}

func (w jsonWalker) field(name string, field protoreflect.FieldDescriptor) error {
	switch {
	case field.IsMap():
		return w.entries(name, field)
	case !field.IsList():
		return w.value(name, field)
	}
	return w.each('[', fault{field: name, problem: "must be a list"}, func() error { return w.value(name, field) })
}

// entries follows a map, whose keys are texts of the caller's, and named nowhere.
func (w jsonWalker) entries(name string, field protoreflect.FieldDescriptor) error {
	seen := make(map[json.Token]bool)
	return w.each('{', objectFault(name), func() error {
		key, err := w.next()
		switch {
		case err != nil:
			return err
		case seen[key]:
			return fault{field: name, problem: "must have each name once"}
		}
		seen[key] = true
		return w.value(name, field.MapValue())
	})
}

// texts are the messages that JSON has as a text, and how it looks.
var texts = map[protoreflect.FullName]string{
	"google.protobuf.Timestamp": "must be a time such as 2006-01-02T15:04:05Z",
	"google.protobuf.Duration":  "must be a duration such as 1.5s",
}

// value follows a value that is no list, or an element of one or of a map.
func (w jsonWalker) value(name string, field protoreflect.FieldDescriptor) error {
	if field.Kind() == protoreflect.MessageKind && texts[field.Message().FullName()] == "" {
		return w.message(name, field.Message())
	}
	begin := w.InputOffset()
	token, err := w.next()
	isElement := field.IsList() || field.ContainingMessage().IsMapEntry()
	switch {
	case err != nil:
		return err
	case token == nil && isElement:
		return fault{field: name, problem: "must not have null in it"}
	case token == nil:
		return nil
	}
	value := bytes.TrimLeft(w.data[begin:w.InputOffset()], " \t\r\n:,")
	switch problem := scalarProblem(token, value, field); {
	case problem == "":
		return nil
	case isElement:
		return fault{field: name, problem: "each " + problem}
	default:
		return fault{field: name, problem: problem}
	}
}

// scalarProblem is what is wrong with a value that is no message and no list, or "". It is given as
// a token and as it stands in the request.
func scalarProblem(token json.Token, value []byte, field protoreflect.FieldDescriptor) string {
	text, isText := token.(string)
	switch field.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind:
		switch {
		case !isText:
			return "must be a string"
		case strings.ContainsRune(text, utf8.RuneError) && !decodes(value, new(wrapperspb.StringValue)): // As which encoding/json takes halves of pairs.
			return "must be valid Unicode, without half of a surrogate pair"
		}
	case protoreflect.MessageKind:
		if !decodes(value, dynamicpb.NewMessage(field.Message())) {
			return texts[field.Message().FullName()]
		}
	case protoreflect.BoolKind:
		if _, ok := token.(bool); !ok {
			return "must be true or false"
		}
	case protoreflect.EnumKind:
		if field.Enum().Values().ByName(protoreflect.Name(text)) == nil && (isText || !decodes(value, new(wrapperspb.Int32Value))) {
			return failure.OneOf(field.Enum())
		}
	case protoreflect.Int32Kind:
		if !decodes(value, new(wrapperspb.Int32Value)) {
			return "must be a whole number of at most 32 bits"
		}
	case protoreflect.Int64Kind:
		if !decodes(value, new(wrapperspb.Int64Value)) {
			return "must be a whole number of at most 64 bits"
		}
	}
	return ""
}

// decodes reports whether a value is a message of this kind.
func decodes(value []byte, message proto.Message) bool {
	return protojson.Unmarshal(value, message) == nil
}
