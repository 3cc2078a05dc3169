package main

import (
	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
)

type fieldRule = validate.FieldRules

func fieldRules(field *protogen.Field) *fieldRule {
	return proto.GetExtension(field.Desc.Options(), validate.E_Field).(*fieldRule)
}

// isRequired reports whether a request without the field is refused.
func isRequired(field *protogen.Field) bool {
	rules := fieldRules(field)
	if rules.GetRequired() {
		return true
	}
	if field.Desc.HasPresence() || rules.GetIgnore() == validate.Ignore_IGNORE_IF_ZERO_VALUE {
		return false
	}
	text := rules.GetString()
	return text.GetUuid() || text.GetEmail() || text.GetMinLen() > 0
}

// stringRules are those of a text. Lengths in bytes are no shorter than those in characters,
// which is what schemas count; comments say which it is.
func stringRules(rules *fieldRule) object {
	var schema object
	text := rules.GetString()
	optional := rules.GetIgnore() == validate.Ignore_IGNORE_IF_ZERO_VALUE
	switch {
	case text.GetUuid() && !optional:
		schema = append(schema, member{"format", "uuid"})
	case text.GetEmail():
		schema = append(schema, member{"format", "email"})
	}
	if text.GetMinLen() > 0 {
		schema = append(schema, member{"minLength", text.GetMinLen()})
	}
	if text.HasMaxLen() {
		schema = append(schema, member{"maxLength", text.GetMaxLen()})
	}
	if text.HasMaxBytes() {
		schema = append(schema, member{"maxLength", text.GetMaxBytes()})
	}
	if pattern := text.GetPattern(); pattern != "" {
		if optional {
			pattern = "^$|" + pattern
		}
		schema = append(schema, member{"pattern", pattern})
	}
	return schema
}

func listRules(rules *fieldRule) object {
	var schema object
	if list := rules.GetRepeated(); list.HasMaxItems() {
		schema = append(schema, member{"maxItems", list.GetMaxItems()})
	}
	if rules.GetRepeated().GetUnique() {
		schema = append(schema, member{"uniqueItems", true})
	}
	return schema
}

func mapRules(rules *fieldRule) object {
	var schema object
	if pairs := rules.GetMap(); pairs.HasMaxPairs() {
		schema = append(schema, member{"maxProperties", pairs.GetMaxPairs()})
	}
	if keys := stringRules(rules.GetMap().GetKeys()); keys != nil {
		schema = append(schema, member{"propertyNames", keys})
	}
	return schema
}

func int32Rules(rules *fieldRule) object {
	var schema object
	if number := rules.GetInt32(); number.HasGte() {
		schema = append(schema, member{"minimum", number.GetGte()})
	}
	if number := rules.GetInt32(); number.HasLte() {
		schema = append(schema, member{"maximum", number.GetLte()})
	}
	return schema
}

func int64Rules(rules *fieldRule) object {
	if number := rules.GetInt64(); number.HasGte() {
		return object{{"minimum", number.GetGte()}}
	}
	return nil
}

// celRules are what the rules say that no schema can, in words.
func celRules(rules *fieldRule) []string {
	var texts []string
	for _, rule := range append(rules.GetCel(), rules.GetMap().GetValues().GetCel()...) {
		texts = append(texts, rule.GetMessage())
	}
	return texts
}

func messageRules(message *protogen.Message) []string {
	rules := proto.GetExtension(message.Desc.Options(), validate.E_Message).(*validate.MessageRules)
	var texts []string
	for _, rule := range rules.GetCel() {
		texts = append(texts, rule.GetMessage())
	}
	return texts
}
