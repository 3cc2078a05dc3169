package failure

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// patterns are the regular expressions of the schema in words.
var patterns = map[string]string{
	"^[a-z][a-z0-9_.:-]{0,62}$": "must be a lower-case letter, then at most 62 lower-case letters, digits and _ . : -",
	"^[a-z][a-z0-9_.-]{0,62}$":  "must be a lower-case letter, then at most 62 lower-case letters, digits and _ . -",
}

// description says what a violation is: what would be right, without regular expressions.
func description(broken *protovalidate.Violation) string {
	text := ruleText(broken)
	elements := broken.Proto.GetField().GetElements()
	switch {
	case broken.Proto.GetForKey():
		return "a name " + text
	case len(elements) > 0 && hasKey(elements[len(elements)-1]):
		return "a value " + text
	}
	return text
}

// ruleText is what a rule asks for, by its id. What protovalidate says is good for the others.
func ruleText(broken *protovalidate.Violation) string {
	switch id := broken.Proto.GetRuleId(); id {
	case "string.pattern":
		if words, ok := patterns[broken.RuleValue.String()]; ok {
			return words
		}
	case "string.min_len":
		if broken.RuleValue.Uint() == 1 {
			return "must not be empty"
		}
	case "string.uuid_empty":
		return "must be a valid UUID, and is empty"
	case "string.email_empty":
		return "must be a valid email address, and is empty"
	case "required":
		return "must be given"
	case "repeated.unique":
		return "must have nothing twice"
	case "repeated.max_items":
		return fmt.Sprintf("must have at most %d elements", broken.RuleValue.Uint())
	case "map.max_pairs":
		return fmt.Sprintf("must have at most %d names", broken.RuleValue.Uint())
	case "enum.defined_only":
		return OneOf(broken.FieldDescriptor.Enum())
	}
	return broken.Proto.GetMessage()
}

// OneOf says that a value must be one of an enum, and which there are.
func OneOf(enum protoreflect.EnumDescriptor) string {
	var names []string
	for i := range enum.Values().Len() {
		if value := enum.Values().Get(i); value.Number() != 0 {
			names = append(names, string(value.Name()))
		}
	}
	return "must be one of " + strings.Join(names, ", ")
}

// protoName is a name in the schema, which JSON has another one for: user_id is userId.
var protoName = regexp.MustCompile(`\b[a-z]+(_[a-z]+)+\b`)

// named is a text of this server, or the path of a field, with the names that the caller of a
// context has for fields.
func named(ctx context.Context, text string) string {
	call, ok := connect.CallInfoForServerContext(ctx)
	if !ok || call.Codec != connect.CodecNameJSON || !strings.Contains(text, "_") {
		return text
	}
	return protoName.ReplaceAllStringFunc(text, jsonName)
}

// jsonName is what JSON calls a field of the schema.
func jsonName(name string) string {
	words := strings.Split(name, "_")
	for i, word := range words[1:] {
		words[i+1] = strings.ToUpper(word[:1]) + word[1:]
	}
	return strings.Join(words, "")
}

// named is the status with the names that the caller of a context has for fields.
func (s Status) named(ctx context.Context) Status {
	s.Field, s.Text = named(ctx, s.Field), named(ctx, s.Text)
	return s
}

// fieldOf names the field that a violation is about. A rule on a whole message,
// which is one without a path, has an id that starts with the field it is about.
func fieldOf(violation *validate.Violation) string {
	path := protovalidate.FieldPathString(withoutKeys(violation.GetField()))
	if len(violation.GetRule().GetElements()) > 0 {
		return path
	}
	field, _, _ := strings.Cut(violation.GetRuleId(), ".")
	if path == "" {
		return field
	}
	return path + "." + field
}

// withoutKeys is a path without the keys of maps, which are content.
func withoutKeys(path *validate.FieldPath) *validate.FieldPath {
	if !slices.ContainsFunc(path.GetElements(), hasKey) {
		return path
	}
	clean := proto.CloneOf(path)
	for _, element := range clean.GetElements() {
		if hasKey(element) {
			element.Subscript = nil
		}
	}
	return clean
}

func hasKey(element *validate.FieldPathElement) bool {
	_, ok := element.GetSubscript().(*validate.FieldPathElement_StringKey)
	return ok
}
