package rules

import (
	"unicode/utf8"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// unboundedTextBytes is what is looked at of a text whose rules name no length, in bytes.
const unboundedTextBytes = 1 << 10

// shortened is a message without what no valid one has: a list or a map ends with the first
// element that is one too many, and a text soon after its longest length. So it breaks the
// rules about them still, but has no room for the million mistakes of which a message can
// consist: protovalidate needs 3 KB for each. A message that is not too long is itself.
func shortened(message protoreflect.Message) protoreflect.Message {
	short := message
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		changed, ok := shortenedField(message, field, value)
		if !ok {
			return true
		}
		if short == message {
			short = shallowCopy(message)
		}
		short.Set(field, changed)
		return true
	})
	return short
}

// shallowCopy is a message with the same fields.
func shallowCopy(message protoreflect.Message) protoreflect.Message {
	same := message.New()
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		same.Set(field, value)
		return true
	})
	return same
}

// shortenedField returns false for a field that is not too long.
func shortenedField(message protoreflect.Message, field protoreflect.FieldDescriptor, value protoreflect.Value) (protoreflect.Value, bool) {
	rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules) // Nil is as good as none.
	switch {
	case field.IsMap():
		return shortenedMap(message.NewField(field), value.Map(), rules.GetMap())
	case field.IsList():
		return shortenedList(message.NewField(field), value.List(), rules.GetRepeated())
	case field.Kind() == protoreflect.StringKind:
		return shortenedText(value, rules.GetString())
	case field.Kind() == protoreflect.MessageKind:
		short := shortened(value.Message())
		return protoreflect.ValueOfMessage(short), short != value.Message()
	}
	return value, false
}

// shortenedList puts into short what is looked at of a list.
func shortenedList(short protoreflect.Value, list protoreflect.List, rules *validate.RepeatedRules) (protoreflect.Value, bool) {
	end, changed := list.Len(), false
	if rules.HasMaxItems() && uint64(end) > rules.GetMaxItems() {
		end, changed = int(rules.GetMaxItems())+1, list.Len() > int(rules.GetMaxItems())+1
	}
	for i := range end {
		element := list.Get(i)
		if _, isText := element.Interface().(string); isText {
			shortElement, ok := shortenedText(element, rules.GetItems().GetString())
			element, changed = shortElement, changed || ok
		}
		short.List().Append(element)
	}
	return short, changed
}

// shortenedMap puts into short what is looked at of a map of texts.
func shortenedMap(short protoreflect.Value, entries protoreflect.Map, rules *validate.MapRules) (protoreflect.Value, bool) {
	changed := false
	entries.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		if rules.HasMaxPairs() && short.Map().Len() > int(rules.GetMaxPairs()) {
			changed = true
			return false
		}
		shortKey, keyChanged := shortenedText(key.Value(), rules.GetKeys().GetString())
		shortValue, valueChanged := shortenedText(value, rules.GetValues().GetString())
		short.Map().Set(shortKey.MapKey(), shortValue)
		changed = changed || keyChanged || valueChanged
		return true
	})
	return short, changed
}

// shortenedText is what is looked at of a text.
func shortenedText(value protoreflect.Value, rules *validate.StringRules) (protoreflect.Value, bool) {
	text, longest := value.String(), unboundedTextBytes
	switch {
	case rules.HasMaxBytes():
		longest = int(rules.GetMaxBytes())
	case rules.HasMaxLen():
		longest = int(rules.GetMaxLen()) * utf8.UTFMax
	}
	if longest += utf8.UTFMax; len(text) <= longest {
		return value, false
	}
	for !utf8.RuneStart(text[longest]) {
		longest--
	}
	return protoreflect.ValueOfString(text[:longest]), true
}
