package main

import (
	"slices"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// schemas are those of the messages and enums that the RPCs take and return.
type schemas struct {
	all       object
	described map[protoreflect.FullName]bool
}

// ref is a reference to a schema of the document.
func ref(name string) object { return object{{"$ref", "#/components/schemas/" + name}} }

// add describes a message and all that it has. Requests have rules: what breaks them is
// refused. No message is both in a request and in a response.
func (s *schemas) add(message *protogen.Message, request bool) {
	name := message.Desc.FullName()
	if s.described[name] || name == timestamp {
		return
	}
	s.described[name] = true
	at := len(s.all)
	s.all = append(s.all, member{}) // Before what it has.
	var properties object
	var required []string
	for _, field := range message.Fields {
		properties = append(properties, member{field.Desc.JSONName(), s.field(field, request)})
		if request && isRequired(field) {
			required = append(required, field.Desc.JSONName())
		}
	}
	schema := object{{"type", "object"}}
	if about := text(message.Comments); about != "" {
		schema = append(schema, member{"description", about})
	}
	schema = append(schema, member{"properties", properties})
	if required != nil {
		schema = append(schema, member{"required", required})
	}
	if request {
		schema = append(schema, member{"additionalProperties", false})
	}
	if rules := messageRules(message); rules != nil {
		schema = append(schema, member{"x-rules", rules})
	}
	s.all[at] = member{string(message.Desc.Name()), schema}
}

// field describes a field, with its comment.
func (s *schemas) field(field *protogen.Field, request bool) object {
	rules := fieldRules(field)
	var schema object
	switch {
	case field.Desc.IsMap():
		schema = object{{"type", "object"}, {"additionalProperties", s.value(field.Message.Fields[1], rules.GetMap().GetValues(), request)}}
		schema = append(schema, mapRules(rules)...)
	case field.Desc.IsList():
		schema = object{{"type", "array"}, {"items", s.value(field, rules.GetRepeated().GetItems(), request)}}
		schema = append(schema, listRules(rules)...)
	default:
		schema = s.value(field, rules, request)
	}
	if about := text(field.Comments); about != "" {
		schema = slices.Concat(object{{"description", about}}, schema)
	}
	if texts := celRules(rules); texts != nil {
		schema = append(schema, member{"x-rules", texts})
	}
	return schema
}

const timestamp = "google.protobuf.Timestamp"

// value describes one value of a field.
func (s *schemas) value(field *protogen.Field, rules *fieldRule, request bool) object {
	switch field.Desc.Kind() {
	case protoreflect.MessageKind:
		if field.Message.Desc.FullName() == timestamp {
			return object{{"type", "string"}, {"format", "date-time"}}
		}
		s.add(field.Message, request)
		return ref(string(field.Message.Desc.Name()))
	case protoreflect.EnumKind:
		s.addEnum(field.Enum)
		return ref(string(field.Enum.Desc.Name()))
	case protoreflect.BoolKind:
		return object{{"type", "boolean"}}
	case protoreflect.Int32Kind:
		return append(object{{"type", "integer"}, {"format", "int32"}}, int32Rules(rules)...)
	case protoreflect.Int64Kind: // A string in JSON; a number is taken as well.
		if request {
			return append(object{{"type", []string{"string", "integer"}}, {"format", "int64"}}, int64Rules(rules)...)
		}
		return object{{"type", "string"}, {"format", "int64"}, {"pattern", "^-?[0-9]+$"}}
	case protoreflect.StringKind:
		return append(object{{"type", "string"}}, stringRules(rules)...)
	default:
		panic("fields of kind " + field.Desc.Kind().String() + " are not described yet")
	}
}

func (s *schemas) addEnum(enum *protogen.Enum) {
	if s.described[enum.Desc.FullName()] {
		return
	}
	s.described[enum.Desc.FullName()] = true
	about := text(enum.Comments)
	names := make([]string, 0, len(enum.Values))
	for _, value := range enum.Values {
		names = append(names, string(value.Desc.Name()))
		about += "\n\n- `" + string(value.Desc.Name()) + "`: " + text(value.Comments)
	}
	s.all = append(s.all, member{string(enum.Desc.Name()), object{{"type", "string"}, {"description", about}, {"enum", names}}})
}
